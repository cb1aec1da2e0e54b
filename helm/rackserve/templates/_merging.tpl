{{/* The same thing given in several places (chart, values of all pods, values of one group) becomes one, and the narrower place wins. So
each key and each name is rendered once: Kubernetes takes the last of two, but KubeRay's schema, Flux and kustomize refuse the object. */}}

{{/* Mappings as one, as YAML; "" for none. Takes them in a list, the narrowest last; null removes a key. */}}
{{- define "rackserve.mapping" -}}
{{- $merged := dict -}}
{{- range $layer := . -}}
{{- range $key, $value := default dict $layer -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $merged $key -}}
{{- else -}}
{{- $_ := set $merged $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $merged -}}{{- toYaml $merged -}}{{- end -}}
{{- end -}}

{{/* Entries of a list, each once, as YAML; "" for none. Of two with the same name the last stays, where it stands: variables may refer
to those before them. Takes {key, entries}; key: what tells entries apart. */}}
{{- define "rackserve.entries" -}}
{{- $key := .key -}}
{{- $last := dict -}}
{{- range $index, $entry := .entries -}}
{{- $_ := set $last (get $entry $key) $index -}}
{{- end -}}
{{- $kept := list -}}
{{- range $index, $entry := .entries -}}
{{- if eq $index (get $last (get $entry $key)) -}}
{{- $kept = append $kept $entry -}}
{{- end -}}
{{- end -}}
{{- if $kept -}}{{- toYaml $kept -}}{{- end -}}
{{- end -}}

{{/* The problems of a list whose entries are told apart by a key, as a JSON list. Takes {path, key, entries}. */}}
{{- define "rackserve.validate.entries" -}}
{{- $problems := list -}}
{{- $seen := dict -}}
{{- range $index, $entry := default list .entries -}}
{{- $name := get $entry $.key -}}
{{- if not $name -}}
{{- $problems = append $problems (printf "%s[%d].%s: missing" $.path $index $.key) -}}
{{- else if hasKey $seen $name -}}
{{- $problems = append $problems (printf "%s[%d].%s: %q is also %s[%d]; keep one" $.path $index $.key $name $.path (get $seen $name)) -}}
{{- else -}}
{{- $_ := set $seen $name $index -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{/* The problems of labels of one's own, as a JSON list: what Services, policies and KubeRay find pods by is not theirs. Takes {path, labels}. */}}
{{- define "rackserve.validate.selecting" -}}
{{- $problems := list -}}
{{- range $key, $value := default dict .labels -}}
{{- if or (has $key (list "app.kubernetes.io/instance" "app.kubernetes.io/part-of" "app.kubernetes.io/component" "rackserve.io/group")) (hasPrefix "ray.io/" $key) (and (eq $key "app.kubernetes.io/name") (ne $.path "labels")) -}}
{{- $problems = append $problems (printf "%s.%s: %q, but objects find pods by this label; take another key" $.path $key (toString $value)) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
