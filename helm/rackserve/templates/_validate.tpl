{{/* What the schema says (_schema.tpl) and, where that holds, what no schema can say. Each message names the key, the value and what would be right; all of them come at once. */}}

{{- define "rackserve.validate" -}}
{{- $problems := list -}}
{{- if ne (toString .Values.valuesCheckedBy) "helm" -}}
{{- $problems = include "rackserve.validate.schema" . | fromJsonArray -}}
{{- end -}}
{{- if not $problems -}}
{{- $problems = include "rackserve.validate.meaning" . | fromJsonArray -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "\n\n%d problem(s) in the values:\n  %s\n" (len $problems) (join "\n  " $problems)) -}}
{{- end -}}
{{- end -}}

{{- define "rackserve.validate.meaning" -}}
{{- $problems := concat
  (include "rackserve.validate.names" . | fromJsonArray)
  (include "rackserve.validate.groups" . | fromJsonArray)
  (include "rackserve.validate.models" . | fromJsonArray)
  (include "rackserve.validate.sizes" . | fromJsonArray)
  (include "rackserve.validate.gateway" . | fromJsonArray)
  (include "rackserve.validate.gatewayScaling" . | fromJsonArray)
  (include "rackserve.validate.cluster" . | fromJsonArray) -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "rackserve.validate.names" -}}
{{- $problems := list -}}
{{- $name := include "rackserve.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- $problems = append $problems (printf "fullnameOverride: the objects' name would be %q; it must be a DNS-1035 label: lower-case letters, digits and -, starting with a letter" $name) -}}
{{- end -}}
{{- if gt (len $name) 40 -}}
{{- $problems = append $problems (printf "fullnameOverride: the objects' name would be %q, of %d characters; at most 40 leave room for what KubeRay appends" $name (len $name)) -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "rackserve.validate.groups" -}}
{{- $problems := list -}}
{{- $names := list "gateway" -}}
{{- range $index, $given := .Values.groups -}}
{{- $where := printf "groups[%d] (%s)" $index $given.name -}}
{{- if has $given.name $names -}}
{{- $problems = append $problems (printf "groups[%d].name: %q is taken; each group needs a name of its own (gateway and head are the chart's)" $index $given.name) -}}
{{- end -}}
{{- $names = append $names $given.name -}}
{{- if and $given.profile (not (hasKey $.Values.profiles $given.profile)) -}}
{{- $problems = append $problems (printf "groups[%d].profile: there is no profile %q; profiles: %s" $index $given.profile (keys $.Values.profiles | sortAlpha | join ", ")) -}}
{{- end -}}
{{- $group := include "rackserve.group" (dict "root" $ "group" $given) | fromJson -}}
{{- range $key := list "cpu" "memory" -}}
{{- if not (get $group $key) -}}
{{- $problems = append $problems (printf "groups[%d].%s: missing; give it, or a profile that has it" $index $key) -}}
{{- end -}}
{{- end -}}
{{- $scale := include "rackserve.scale" (dict "root" $ "group" $given) | fromJson -}}
{{- $gpus := int $group.gpus -}}
{{- if and $group.domainGpus (gt $gpus (int $group.domainGpus)) -}}
{{- $problems = append $problems (printf "groups[%d].gpus: %d is more than the %d GPUs of its NVLink domain (domainGpus)" $index $gpus (int $group.domainGpus)) -}}
{{- else if and (or $group.gpuDomain (and $group.cliqueAffinity $group.domainGpus)) (gt $gpus 0) -}}
{{- $domainGpus := int (default $gpus $group.domainGpus) -}}
{{- $most := div $domainGpus $gpus -}}
{{- if gt (int $scale.maxReplicas) (int $most) -}}
{{- $problems = append $problems (printf "%s: replicas (or max) is %d, but its NVLink domain has %d GPUs, %d a node: at most %d nodes; give each rack a group of its own, or leave gpuDomain out where each node is a domain" $where (int $scale.maxReplicas) $domainGpus $gpus $most) -}}
{{- end -}}
{{- end -}}
{{- $problems = concat $problems (include "rackserve.validate.entries" (dict "path" (printf "groups[%d].env" $index) "key" "name" "entries" $group.env) | fromJsonArray) -}}
{{- range $key, $name := dict "resourceClaims" "name" "volumes" "name" "volumeMounts" "mountPath" "initContainers" "name" "sidecars" "name" -}}
{{- $problems = concat $problems (include "rackserve.validate.entries" (dict "path" (printf "groups[%d].%s" $index $key) "key" $name "entries" (get $group $key)) | fromJsonArray) -}}
{{- end -}}
{{- $problems = concat $problems (include "rackserve.validate.selecting" (dict "path" (printf "groups[%d].podLabels" $index) "labels" $group.podLabels) | fromJsonArray) -}}
{{- if and $group.cpu (lt (include "rackserve.wholeCpus" $group.cpu | int) 1) -}}
{{- $problems = append $problems (printf "groups[%d].cpu: %v; Ray gives away whole CPUs, so give 1 or more" $index $group.cpu) -}}
{{- end -}}
{{- $role := get (default dict $group.labels) "rackserve.io/role" -}}
{{- if not (has $role (list "" "model")) -}}
{{- $problems = append $problems (printf "groups[%d].labels: rackserve.io/role is %q; it tells gateways from replicas, so leave it out" $index $role) -}}
{{- end -}}
{{- if hasKey (default dict $group.labels) "ray.io/gpu-domain" -}}
{{- $problems = append $problems (printf "groups[%d].labels: ray.io/gpu-domain is %q; give it as groups[%d].gpuDomain" $index (get $group.labels "ray.io/gpu-domain") $index) -}}
{{- end -}}
{{- $own := default dict $group.securityContext -}}
{{- $confined := not (ternary $own.allowPrivilegeEscalation $.Values.security.container.allowPrivilegeEscalation (hasKey $own "allowPrivilegeEscalation")) -}}
{{- if and (eq (include "rackserve.locksByCapability" $group) "yes") $own.runAsUser $confined -}}
{{- $problems = append $problems (printf "groups[%d].securityContext.runAsUser: %d with rdma.memlock capability, but IPC_LOCK has no effect for any user but 0; set rdma.memlock to node where the nodes' limit on locked memory is lifted" $index (int $own.runAsUser)) -}}
{{- end -}}
{{- if and $group.computeDomain (not $group.cliqueAffinity) -}}
{{- $problems = append $problems (printf "groups[%d].cliqueAffinity: false with computeDomain true; a ComputeDomain does not keep pods in one rack, so set it to true" $index) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := .Values.scale -}}
{{- if not (has $name $names) -}}
{{- $problems = append $problems (printf "scale.%s: there is no such group; groups: %s" $name (join ", " $names)) -}}
{{- end -}}
{{- end -}}
{{- $scaled := prepend .Values.groups (include "rackserve.gatewayGroup" . | fromJson) -}}
{{- range $group := $scaled -}}
{{- $scale := include "rackserve.scale" (dict "root" $ "group" $group) | fromJson -}}
{{- $given := default dict (get $.Values.scale $group.name) -}}
{{- if not $.Values.autoscaler.enabled -}}
{{- range $key := list "min" "max" -}}
{{- if or (hasKey $given $key) (hasKey $group $key) -}}
{{- $problems = append $problems (printf "scale.%s.%s: %v, but nothing scales nodes while autoscaler.enabled is false; give replicas, or set autoscaler.enabled to true" $group.name $key (default (get $group $key) (get $given $key))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if or (lt (int $scale.replicas) (int $scale.minReplicas)) (gt (int $scale.replicas) (int $scale.maxReplicas)) -}}
{{- $problems = append $problems (printf "scale.%s: replicas is %d, min %d and max %d; min <= replicas <= max must hold" $group.name (int $scale.replicas) (int $scale.minReplicas) (int $scale.maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "rackserve.validate.models" -}}
{{- $problems := list -}}
{{- $names := list -}}
{{- $domain := 0 -}}
{{- $largest := "" -}}
{{- $total := 0 -}}
{{- $asked := 0.0 -}}
{{- $askers := list -}}
{{- $domains := include "rackserve.domains" . | fromJsonArray -}}
{{- range $domains -}}
{{- $total = add $total (mul (int .gpus) (int .count)) | int -}}
{{- if gt (int .gpus) $domain -}}
{{- $domain = int .gpus -}}
{{- $largest = .name -}}
{{- end -}}
{{- end -}}
{{- range $index, $model := .Values.clusterFile.models -}}
{{- if has $model.name $names -}}
{{- $problems = append $problems (printf "clusterFile.models[%d].name: %q is taken; names are unique" $index $model.name) -}}
{{- end -}}
{{- $names = append $names $model.name -}}
{{- if and (eq (default "vllm" $model.engine) "vllm") (not $model.source) -}}
{{- $problems = append $problems (printf "clusterFile.models[%d].source: missing for %q; a Hugging Face id, a folder or a built-in name" $index $model.name) -}}
{{- end -}}
{{- $given := default dict (get $.Values.models $model.name) -}}
{{- $replicas := include "rackserve.replicas" (dict "replicas" $model.replicas "given" $given) | fromJson -}}
{{- if or (gt (int $replicas.min) (int $replicas.max)) (lt (int $replicas.max) 1) -}}
{{- $problems = append $problems (printf "models.%s: min is %d and max %d; min <= max and max >= 1 must hold (clusterFile.models[%d].replicas is what values.models does not give)" $model.name (int $replicas.min) (int $replicas.max) $index) -}}
{{- end -}}
{{- $parts := list (dict "where" (printf "clusterFile.models[%d]" $index) "label" $model.name "parallel" $model.parallel "min" $replicas.min "each" $model.gpus_per_replica) -}}
{{- if $model.pools -}}{{- $parts = list -}}{{- end -}}
{{- $pools := list -}}
{{- $roles := list -}}
{{- range $number, $pool := default list $model.pools -}}
{{- $where := printf "clusterFile.models[%d].pools[%d]" $index $number -}}
{{- if has $pool.name $pools -}}
{{- $problems = append $problems (printf "%s.name: %q is taken; names are unique in a model" $where $pool.name) -}}
{{- end -}}
{{- $pools = append $pools $pool.name -}}
{{- $roles = append $roles (default "both" $pool.role) -}}
{{- $replicas := include "rackserve.poolReplicas" (dict "pool" $pool "model" $model "given" $given) | fromJson -}}
{{- if or (gt (int $replicas.min) (int $replicas.max)) (lt (int $replicas.max) 1) -}}
{{- $problems = append $problems (printf "models.%s.pools.%s: min is %d and max %d; min <= max and max >= 1 must hold (%s.replicas is what values.models does not give)" $model.name $pool.name (int $replicas.min) (int $replicas.max) $where) -}}
{{- end -}}
{{- $each := ternary $pool.gpus_per_replica $model.gpus_per_replica (hasKey $pool "gpus_per_replica") -}}
{{- $parts = append $parts (dict "where" $where "label" (printf "%s:%s" $model.name $pool.name) "parallel" (default $model.parallel $pool.parallel) "min" $replicas.min "each" $each) -}}
{{- end -}}
{{- range $number, $role := $roles -}}
{{- $partner := get (dict "prefill" "decode" "decode" "prefill") $role -}}
{{- if and $partner (not (has $partner $roles)) (not (has "both" $roles)) -}}
{{- $problems = append $problems (printf "clusterFile.models[%d].pools[%d].role: %q needs another pool whose role is %q or \"both\"" $index $number $role $partner) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := default dict $given.pools -}}
{{- if not (has $name $pools) -}}
{{- $problems = append $problems (printf "models.%s.pools.%s: there is no such pool; pools: %s" $model.name $name (join ", " $pools | default "none")) -}}
{{- end -}}
{{- end -}}
{{- range $part := $parts -}}
{{- $parallel := default dict $part.parallel -}}
{{- $tensor := int (default 1 $parallel.tensor) -}}
{{- $data := int (default 1 $parallel.data) -}}
{{- $ranks := mul $tensor (int (default 1 $parallel.pipeline)) $data | int -}}
{{- $gpus := float64 $ranks -}}
{{- if not (kindIs "invalid" $part.each) -}}
{{- if or (eq $ranks 1) (eq (float64 $part.each) 0.0) -}}{{- $gpus = float64 $part.each -}}{{- end -}}
{{- else if and (eq (default "vllm" $model.engine) "sim") (eq $ranks 1) -}}
{{- $gpus = 0.0 -}}
{{- end -}}
{{- if and (gt $gpus 0.0) (gt (int $part.min) 0) -}}
{{- $asked = addf $asked (mulf $gpus (int $part.min)) -}}
{{- $askers = append $askers (printf "%s: %d x %v" $part.label (int $part.min) $gpus) -}}
{{- $unit := ternary (mul $tensor $data | int) $tensor (gt (int (default 1 $parallel.expert)) 1) -}}
{{- $units := mul (div $ranks $unit) (int $part.min) | int -}}
{{- $places := 0 -}}
{{- range $domains -}}
{{- $places = add $places (mul (div (int .gpus) $unit) (int .count)) | int -}}
{{- end -}}
{{- if and (gt $gpus 1.0) (gt $units $places) (le $unit $domain) -}}
{{- $problems = append $problems (printf "%s.parallel: %d replicas are %d groups of %d GPUs, each in one NVLink domain, but these groups have room for %d" $part.where (int $part.min) $units $unit $places) -}}
{{- end -}}
{{- end -}}
{{- if and (eq (default "vllm" $model.engine) "vllm") (gt $domain 0) (gt $tensor $domain) -}}
{{- $problems = append $problems (printf "%s.parallel.tensor: %d, but the largest NVLink domain of these groups (%s) has %d GPUs; tensor parallelism stays inside one" $part.where $tensor $largest $domain) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (gt $total 0) (gt $asked (float64 $total)) -}}
{{- $problems = append $problems (printf "clusterFile.models: their replicas need %v GPUs at least (%s), but the groups have %d" $asked (join ", " $askers) $total) -}}
{{- end -}}
{{- range $name, $_ := .Values.models -}}
{{- if not (has $name $names) -}}
{{- $problems = append $problems (printf "models.%s: there is no such model; models: %s" $name (join ", " $names)) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "rackserve.validate.gateway" -}}
{{- $problems := list -}}
{{- $gateway := default dict .Values.clusterFile.gateway -}}
{{- $owners := dict "host" "it is 0.0.0.0 in a pod" "replicas" "it is every_node, so that gateways follow their pods; give gateway.replicas and gateway.processes" "per_node" "give gateway.processes" "node_labels" "the gateways' group has them" "tls" "give gateway.tls.secretName" -}}
{{- range $key := keys $owners | sortAlpha -}}
{{- if hasKey $gateway $key -}}
{{- $problems = append $problems (printf "clusterFile.gateway.%s: %s, but the chart sets this key; remove it: %s" $key (get $gateway $key | toJson) (get $owners $key)) -}}
{{- end -}}
{{- end -}}
{{- $ports := include "rackserve.ports" . | fromJson -}}
{{- $taken := dict "8080" "Ray's metrics" "6379" "Ray's GCS" "8265" "Ray's dashboard" "10001" "Ray's client port" "52365" "Ray's agent" -}}
{{- $wanted := list (list "gateway.port" $ports.apps) (list "cluster.serve_port" $ports.serve) -}}
{{- range $k := until (int .Values.gateway.processes) -}}
{{- $wanted = append $wanted (list "gateway.admin_port" (add (int $ports.admin) $k)) -}}
{{- end -}}
{{- range $wanted -}}
{{- $port := toString (index . 1) -}}
{{- if hasKey $taken $port -}}
{{- $problems = append $problems (printf "clusterFile.%s: %s is already %s; give it another port" (index . 0) $port (get $taken $port)) -}}
{{- end -}}
{{- $_ := set $taken $port (printf "clusterFile.%s" (index . 0)) -}}
{{- end -}}
{{- range $index, $tenant := default list $gateway.tenants -}}
{{- if not (or $tenant.key_sha256 $tenant.key_file $.Values.gateway.tenantKeys.secretName) -}}
{{- $problems = append $problems (printf "clusterFile.gateway.tenants[%d]: %q has no key; give key_sha256, or the Secret that has it as gateway.tenantKeys.secretName" $index $tenant.name) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "rackserve.validate.gatewayScaling" -}}
{{- $problems := list -}}
{{- if and .Values.gateway.httpRoute.enabled (not .Values.gateway.httpRoute.parentRefs) -}}
{{- $problems = append $problems "gateway.httpRoute.parentRefs: empty with gateway.httpRoute.enabled true; name the Gateway" -}}
{{- end -}}
{{- $gateway := .Values.gateway -}}
{{- $scaling := $gateway.autoscaling -}}
{{- $given := default dict .Values.scale.gateway -}}
{{- if eq $gateway.workload "Deployment" -}}
{{- if and .Values.auth.enabled (not .Values.auth.secretName) -}}
{{- $problems = append $problems "auth.secretName: empty with gateway.workload Deployment; KubeRay would make a Secret under a name that gateway pods cannot know: make one with auth_token and name it" -}}
{{- end -}}
{{- if ne .Values.upgradeStrategy.type "None" -}}
{{- $problems = append $problems (printf "upgradeStrategy.type: %s with gateway.workload Deployment; a second cluster would wait for gateways that are in the first, so set it to None" .Values.upgradeStrategy.type) -}}
{{- end -}}
{{- if or (hasKey $given "min") (hasKey $given "max") -}}
{{- $problems = append $problems "scale.gateway: min and max are for Ray's autoscaler, which does not scale a Deployment (gateway.workload); give gateway.autoscaling.min and max" -}}
{{- end -}}
{{- end -}}
{{- if ne $scaling.by "none" -}}
{{- if ne $gateway.workload "Deployment" -}}
{{- $problems = append $problems (printf "gateway.autoscaling.by: %s, but nothing but KubeRay can scale a worker group; set gateway.workload to Deployment" $scaling.by) -}}
{{- end -}}
{{- if hasKey $given "replicas" -}}
{{- $problems = append $problems (printf "scale.gateway.replicas: %d, but gateway.autoscaling.by is %s, which sets their number; give gateway.autoscaling.min" (int $given.replicas) $scaling.by) -}}
{{- end -}}
{{- if gt (int $scaling.min) (int $scaling.max) -}}
{{- $problems = append $problems (printf "gateway.autoscaling: min is %d and max %d; min <= max must hold" (int $scaling.min) (int $scaling.max)) -}}
{{- end -}}
{{- end -}}
{{- if eq $scaling.by "hpa" -}}
{{- $limit := toString (default "" (default dict $gateway.resources.limits).cpu) -}}
{{- $millis := ternary (trimSuffix "m" $limit | float64) (mulf (float64 $limit) 1000) (hasSuffix "m" $limit) -}}
{{- $wanted := mul (int $gateway.processes) (int $scaling.cpuPercent) 10 -}}
{{- if and $limit (le $millis (float64 $wanted)) -}}
{{- $problems = append $problems (printf "gateway.resources.limits.cpu: %s, but more pods are asked for at %dm (gateway.processes x gateway.autoscaling.cpuPercent), which is never passed; allow more" $limit (int $wanted)) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $scaling.by "keda") (not $scaling.keda.serverAddress) -}}
{{- $problems = append $problems "gateway.autoscaling.keda.serverAddress: empty with gateway.autoscaling.by keda; give Prometheus' address" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "rackserve.validate.cluster" -}}
{{- $problems := concat
  (include "rackserve.validate.entries" (dict "path" "env" "key" "name" "entries" .Values.env) | fromJsonArray)
  (include "rackserve.validate.entries" (dict "path" "head.env" "key" "name" "entries" .Values.head.env) | fromJsonArray)
  (include "rackserve.validate.selecting" (dict "path" "labels" "labels" .Values.labels) | fromJsonArray)
  (include "rackserve.validate.selecting" (dict "path" "podLabels" "labels" .Values.podLabels) | fromJsonArray) -}}
{{- if and .Values.modelCache.readOnly (eq .Values.modelCache.type "emptyDir") -}}
{{- $problems = append $problems "modelCache.readOnly: true with modelCache.type emptyDir, which has nothing in it; take pvc or hostPath" -}}
{{- end -}}
{{- if (default dict .Values.clusterFile.cluster).warm_cache -}}
{{- $problems = append $problems "clusterFile.cluster.warm_cache: true, which `rackserve serve` and `up` act on; here take modelCache.warm" -}}
{{- end -}}
{{- if and .Values.modelCache.readOnly .Values.modelCache.warm -}}
{{- $problems = append $problems "modelCache.warm: true with modelCache.readOnly, where nothing can be downloaded; take one of them" -}}
{{- end -}}
{{- if and (eq .Values.gcs.backend "redis") (not .Values.gcs.redis.address) -}}
{{- $problems = append $problems "gcs.redis.address: empty with gcs.backend redis; give redis://HOST:PORT" -}}
{{- end -}}
{{- if and .Values.auth.enabled (semverCompare "<2.52.0-0" .Values.rayVersion) -}}
{{- $problems = append $problems (printf "rayVersion: %s, but auth.enabled needs Ray 2.52.0 or later" .Values.rayVersion) -}}
{{- end -}}
{{- if and (eq .Values.modelCache.type "pvc") (not .Values.modelCache.claimName) -}}
{{- $problems = append $problems "modelCache.claimName: empty with modelCache.type pvc; give the claim's name" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
