{{/* How many nodes, and of what kind: values.groups, their profiles, and values.scale over both. */}}

{{/* One group with its profile's keys under its own, as JSON. Takes {root, group}. */}}
{{- define "rackserve.group" -}}
{{- $group := deepCopy (default dict (get .root.Values.profiles (default "" .group.profile))) -}}
{{- /* Not mergeOverwrite: it takes 0 and false for "not given". */ -}}
{{- range $key, $value := .group -}}
{{- $_ := set $group $key $value -}}
{{- end -}}
{{- /* Without a label a machine is a domain of its own (cluster/placement/node_labels.py), as a box of 8 GPUs is. */ -}}
{{- if not (hasKey $group "gpuDomain") -}}
{{- $shared := and (gt (int $group.gpus) 0) (gt (int $group.domainGpus) (int $group.gpus)) -}}
{{- $_ := set $group "gpuDomain" (ternary $group.name "" $shared) -}}
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

{{/* The NVLink domains of all groups, as a JSON list of {name, gpus, count}. Groups of one `gpuDomain` are one domain. */}}
{{- define "rackserve.domains" -}}
{{- $shared := dict -}}
{{- $domains := list -}}
{{- range $given := .Values.groups -}}
{{- $group := include "rackserve.group" (dict "root" $ "group" $given) | fromJson -}}
{{- $nodes := int (include "rackserve.scale" (dict "root" $ "group" $given) | fromJson).maxReplicas -}}
{{- $gpus := int $group.gpus -}}
{{- if and (gt $gpus 0) (gt $nodes 0) -}}
{{- if $group.gpuDomain -}}
{{- $all := mul $gpus $nodes | int -}}
{{- if $group.domainGpus -}}{{- $all = min $all (int $group.domainGpus) | int -}}{{- end -}}
{{- $_ := set $shared $group.gpuDomain (add $all (int (default 0 (get $shared $group.gpuDomain))) | int) -}}
{{- else -}}
{{- $domains = append $domains (dict "name" (printf "a node of %s" $group.name) "gpus" $gpus "count" $nodes) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $gpus := $shared -}}
{{- $domains = append $domains (dict "name" $name "gpus" $gpus "count" 1) -}}
{{- end -}}
{{- toJson $domains -}}
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
{{- if .gpuDomain -}}
{{- $_ := set $own "ray.io/gpu-domain" .gpuDomain -}}
{{- else if gt (int .gpus) 0 -}}
{{- /* Its machines are neighbours all the same: a gang over several of them stays in the group. */ -}}
{{- $_ := set $own "rackserve.io/rack" .name -}}
{{- end -}}
{{- include "rackserve.mapping" (list $own .labels) -}}
{{- end -}}

{{/* CPUs that Ray may give away: whole ones. Takes a number, or a quantity such as "16" or 7500m. */}}
{{- define "rackserve.wholeCpus" -}}
{{- $text := toString . -}}
{{- if hasSuffix "m" $text -}}
{{- div (trimSuffix "m" $text | int) 1000 -}}
{{- else -}}
{{- float64 $text | floor | int -}}
{{- end -}}
{{- end -}}
