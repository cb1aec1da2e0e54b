{{/* Where pods connect to, from what is switched on: DNS, Redis, the API server, collectors, proxies, the models' sources. */}}

{{/* NetworkPolicy egress rules for each kind of pod, as JSON lists. Each takes the root. */}}

{{- define "rackserve.egress.all" -}}
{{- /* 5353: OpenShift's DNS pods; a policy sees the pod's port, not its Service's 53. */ -}}
{{- $ports := list -}}
{{- range $port := list 53 5353 -}}
{{- $ports = append $ports (dict "port" $port "protocol" "UDP") -}}
{{- $ports = append $ports (dict "port" $port "protocol" "TCP") -}}
{{- end -}}
{{- $rules := list (dict "ports" $ports) -}}
{{- $traces := dict "names" (list "OTEL_EXPORTER_OTLP_ENDPOINT" "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") "unknown" (list 4317 4318) -}}
{{- $proxies := dict "names" (list "HTTPS_PROXY" "https_proxy" "HTTP_PROXY" "http_proxy" "ALL_PROXY" "all_proxy") "unknown" (list 3128 8080) -}}
{{- range $kind := list $traces $proxies -}}
{{- $rules = concat $rules (include "rackserve.egress.ofVariables" (merge (dict "root" $) $kind) | fromJsonArray) -}}
{{- end -}}
{{- $rules = concat $rules .Values.networkPolicy.egress -}}
{{- toJson (uniq $rules) -}}
{{- end -}}

{{- define "rackserve.egress.head" -}}
{{- $rules := list -}}
{{- if eq .Values.gcs.backend "redis" -}}
{{- range $address := splitList "," .Values.gcs.redis.address -}}
{{- $rules = concat $rules (include "rackserve.egress.to" (dict "address" $address "port" 6379) | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- if .Values.autoscaler.enabled -}}
{{- /* The API server: its Service's port, and the one it listens on. */ -}}
{{- $rules = append $rules (dict "ports" (list (dict "port" 443 "protocol" "TCP") (dict "port" 6443 "protocol" "TCP"))) -}}
{{- end -}}
{{- toJson $rules -}}
{{- end -}}

{{- define "rackserve.egress.models" -}}
{{- $rules := list -}}
{{- if eq (include "rackserve.usesHub" .) "yes" -}}
{{- $mirrors := include "rackserve.egress.ofVariables" (dict "root" . "names" (list "HF_ENDPOINT") "unknown" (list 443)) | fromJsonArray -}}
{{- $proxies := include "rackserve.environmentOf" (dict "root" . "names" (list "HTTPS_PROXY" "https_proxy" "ALL_PROXY" "all_proxy")) | fromJsonArray -}}
{{- if $mirrors -}}
{{- $rules = concat $rules $mirrors -}}
{{- else if not $proxies -}}
{{- $rules = append $rules (dict "ports" (list (dict "port" 443 "protocol" "TCP"))) -}}
{{- end -}}
{{- end -}}
{{- range $model := .Values.clusterFile.models -}}
{{- range $domain := default list (default dict $model.media).domains -}}
{{- $port := regexFind ":[0-9]+$" $domain | trimPrefix ":" -}}
{{- range $number := ternary (list $port) (list 80 443) (ne $port "") -}}
{{- $rules = append $rules (dict "ports" (list (dict "port" (int $number) "protocol" "TCP"))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson (uniq $rules) -}}
{{- end -}}

{{/* Whether a replica fetches from the Hugging Face hub (or, for a built-in model, a package index): "yes" or "no". A source is a path
where it begins as one. */}}
{{- define "rackserve.usesHub" -}}
{{- $sources := list -}}
{{- $all := ternary (dict "HF_HUB_OFFLINE" "1") dict .Values.modelCache.readOnly -}}
{{- range .Values.env -}}{{- $_ := set $all .name .value -}}{{- end -}}
{{- range $model := .Values.clusterFile.models -}}
{{- $env := merge (deepCopy (default dict $model.env)) $all -}}
{{- $offline := list (toString $env.HF_HUB_OFFLINE | upper) (toString $env.TRANSFORMERS_OFFLINE | upper) -}}
{{- $isOffline := or (has "1" $offline) (has "ON" $offline) (has "YES" $offline) (has "TRUE" $offline) -}}
{{- if and (eq (default "vllm" $model.engine) "vllm") (not $isOffline) -}}
{{- $sources = append $sources $model.source -}}
{{- range $part := prepend (default list $model.pools) $model -}}
{{- $sources = append $sources (default dict $part.speculative).model -}}
{{- end -}}
{{- range $adapter := default list $model.adapters -}}
{{- $sources = append $sources $adapter.source -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $uses := false -}}
{{- range $source := compact $sources -}}
{{- $uses = or $uses (not (regexMatch "^[./~]" $source)) -}}
{{- end -}}
{{- ternary "yes" "no" $uses -}}
{{- end -}}

{{/* What variables of these names have as their values in any pod or model, as a JSON list of {value}; value "": from a Secret or the
like, so not known here. Takes {root, names}. */}}
{{- define "rackserve.environmentOf" -}}
{{- $entries := concat .root.Values.env .root.Values.head.env -}}
{{- range $group := .root.Values.groups -}}
{{- $entries = concat $entries (default list $group.env) -}}
{{- end -}}
{{- range $model := .root.Values.clusterFile.models -}}
{{- range $part := prepend (default list $model.pools) $model -}}
{{- range $name, $value := default dict $part.env -}}
{{- $entries = append $entries (dict "name" $name "value" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $found := list -}}
{{- range $entry := $entries -}}
{{- if and (has $entry.name $.names) (or $entry.value $entry.valueFrom) -}}
{{- $found = append $found (dict "value" (default "" $entry.value)) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Rules for the addresses that variables hold. Takes {root, names, unknown}; unknown: ports where the address is not known here. */}}
{{- define "rackserve.egress.ofVariables" -}}
{{- $rules := list -}}
{{- range $found := include "rackserve.environmentOf" . | fromJsonArray -}}
{{- if $found.value -}}
{{- $port := ternary 443 80 (hasPrefix "https:" $found.value) -}}
{{- $rules = concat $rules (include "rackserve.egress.to" (dict "address" $found.value "port" $port) | fromJsonArray) -}}
{{- else -}}
{{- $ports := list -}}
{{- range $port := $.unknown -}}
{{- $ports = append $ports (dict "port" $port "protocol" "TCP") -}}
{{- end -}}
{{- $rules = append $rules (dict "ports" $ports) -}}
{{- end -}}
{{- end -}}
{{- toJson $rules -}}
{{- end -}}

{{/* The rule for one address, as a JSON list; none for this machine's own. To an IP address or a `.svc` name alone; other names are no
peers to a NetworkPolicy, so to any address on that port. Takes {address, port}; port: where the address has none. */}}
{{- define "rackserve.egress.to" -}}
{{- $place := regexReplaceAll "[/?#].*$" (regexReplaceAll "^[A-Za-z][A-Za-z0-9+.-]*://" (trim .address) "") "" -}}
{{- $place = regexReplaceAll "^.*@" $place "" -}}
{{- $port := regexFind ":[0-9]+$" $place | trimPrefix ":" -}}
{{- $host := $place -}}
{{- if regexMatch "^[^:]*:[0-9]+$|^\\[.*\\]:[0-9]+$" $place -}}
{{- $host = trimSuffix (printf ":%s" $port) $place -}}
{{- else -}}
{{- $port = "" -}}
{{- end -}}
{{- $host = $host | trimPrefix "[" | trimSuffix "]" | lower -}}
{{- $rule := dict "ports" (list (dict "port" (ternary (int $port) (int .port) (ne $port "")) "protocol" "TCP")) -}}
{{- if regexMatch "^[0-9]+(\\.[0-9]+){3}$" $host -}}
{{- $_ := set $rule "to" (list (dict "ipBlock" (dict "cidr" (printf "%s/32" $host)))) -}}
{{- else if contains ":" $host -}}
{{- $_ := set $rule "to" (list (dict "ipBlock" (dict "cidr" (printf "%s/128" $host)))) -}}
{{- else if regexMatch "^[^.]+\\.[^.]+\\.svc(\\..*)?$" $host -}}
{{- $namespace := dict "kubernetes.io/metadata.name" (index (splitList "." $host) 1) -}}
{{- $_ := set $rule "to" (list (dict "namespaceSelector" (dict "matchLabels" $namespace))) -}}
{{- end -}}
{{- if or (regexMatch "^(localhost|127\\..*|::1)$" $host) (not $host) -}}
[]
{{- else -}}
{{- list $rule | toJson -}}
{{- end -}}
{{- end -}}
