{{/* How many nodes, and of what kind: values.groups, their profiles, and values.scale over both. */}}

{{/* One group with its profile's keys under its own, as JSON. Takes {root, group}. */}}
{{- define "rackserve.group" -}}
{{- $group := deepCopy (default dict (get .root.Values.profiles (default "" .group.profile))) -}}
{{- /* Not mergeOverwrite: it takes 0 and false for "not given". */ -}}
{{- range $key, $value := .group -}}
{{- $_ := set $group $key $value -}}
{{- end -}}
{{- if not (hasKey $group "gpuDomain") -}}
{{- $_ := set $group "gpuDomain" (ternary $group.name "" (gt (int $group.gpus) 0)) -}}
{{- end -}}
{{- toJson $group -}}
{{- end -}}

{{/* replicas, minReplicas and maxReplicas of a group, as JSON. Takes {root, group}; {name: gateway} for the gateways. */}}
{{- define "rackserve.scale" -}}
{{- $scaled := default dict (get .root.Values.scale .group.name) -}}
{{- $replicas := 1 -}}
{{- if hasKey .group "replicas" }}{{- $replicas = int .group.replicas -}}{{- end -}}
{{- if hasKey $scaled "replicas" }}{{- $replicas = int $scaled.replicas -}}{{- end -}}
{{- $min := $replicas -}}
{{- $max := $replicas -}}
{{- if .root.Values.autoscaler.enabled -}}
{{- if hasKey .group "min" }}{{- $min = int .group.min -}}{{- end -}}
{{- if hasKey $scaled "min" }}{{- $min = int $scaled.min -}}{{- end -}}
{{- if hasKey .group "max" }}{{- $max = int .group.max -}}{{- end -}}
{{- if hasKey $scaled "max" }}{{- $max = int $scaled.max -}}{{- end -}}
{{- end -}}
{{- toJson (dict "replicas" $replicas "minReplicas" $min "maxReplicas" $max) -}}
{{- end -}}

{{- define "rackserve.gatewayGroup" -}}
{{- toJson (dict "name" "gateway" "replicas" (int .Values.gateway.replicas)) -}}
{{- end -}}

{{/* How a gateway's Ray node starts and what it is called in Ray, as JSON: the same for a worker group and a Deployment. */}}
{{- define "rackserve.gatewayStart" -}}
{{- toJson (dict "num-cpus" "0" "num-gpus" "0" "object-store-memory" "100000000") -}}
{{- end -}}

{{- define "rackserve.gatewayLabels" -}}
{{- toJson (dict "rackserve.io/role" "gateway" "rackserve.io/group" "gateway") -}}
{{- end -}}

{{/* Ray's labels of a group's nodes, as YAML. Takes the group. */}}
{{- define "rackserve.groupLabels" -}}
{{- $own := dict "rackserve.io/role" "model" "rackserve.io/group" .name -}}
{{- if .gpuDomain -}}{{- $_ := set $own "ray.io/gpu-domain" .gpuDomain -}}{{- end -}}
{{- include "rackserve.mapping" (list $own .labels) -}}
{{- end -}}
