{{/* The cluster file as `rackserve serve` takes it: values.clusterFile, values.models over it, and what the chart knows. */}}

{{- define "rackserve.clusterFile" -}}
{{- $file := deepCopy .Values.clusterFile -}}
{{- $models := list -}}
{{- range $model := $file.models -}}
{{- $given := default dict (get $.Values.models $model.name) -}}
{{- $pools := list -}}
{{- range $pool := default list $model.pools -}}
{{- $ofPool := default dict (get (default dict $given.pools) $pool.name) -}}
{{- if $ofPool -}}
{{- $_ := set $pool "replicas" (include "rackserve.poolReplicas" (dict "pool" $pool "model" $model "given" $given) | fromJson) -}}
{{- end -}}
{{- $pools = append $pools $pool -}}
{{- end -}}
{{- if $pools -}}{{- $_ := set $model "pools" $pools -}}{{- end -}}
{{- if or (hasKey $given "min") (hasKey $given "max") -}}
{{- $_ := set $model "replicas" (include "rackserve.replicas" (dict "replicas" $model.replicas "given" $given) | fromJson) -}}
{{- end -}}
{{- $models = append $models $model -}}
{{- end -}}
{{- $_ := set $file "models" $models -}}
{{- $gateway := deepCopy (default dict $file.gateway) -}}
{{- $_ := set $gateway "host" "0.0.0.0" -}}
{{- /* Prometheus scrapes pods from elsewhere; the NetworkPolicy says who reaches these ports. */ -}}
{{- if not $gateway.admin_host -}}
{{- $_ := set $gateway "admin_host" "0.0.0.0" -}}
{{- end -}}
{{- /* Not a number: that would have to change with the pods, and whoever scales them knows nothing of this file. */ -}}
{{- $_ := set $gateway "replicas" "every_node" -}}
{{- $_ := set $gateway "per_node" (int .Values.gateway.processes) -}}
{{- $_ := set $gateway "node_labels" (pick (include "rackserve.gatewayLabels" . | fromJson) "rackserve.io/role") -}}
{{- if .Values.gateway.tls.secretName -}}
{{- $_ := set $gateway "tls" (dict "cert_file" "/etc/rackserve/tls/tls.crt" "key_file" "/etc/rackserve/tls/tls.key") -}}
{{- end -}}
{{- if .Values.gateway.tenantKeys.secretName -}}
{{- $tenants := list -}}
{{- range $tenant := default list $gateway.tenants -}}
{{- if not (or $tenant.key_sha256 $tenant.key_file) -}}
{{- $_ := set $tenant "key_file" (printf "/etc/rackserve/tenants/%s" $tenant.name) -}}
{{- end -}}
{{- $tenants = append $tenants $tenant -}}
{{- end -}}
{{- $_ := set $gateway "tenants" $tenants -}}
{{- end -}}
{{- $_ := set $file "gateway" $gateway -}}
{{- toJson $file -}}
{{- end -}}

{{/* min and max of a model, as JSON: what values.models gives of it over what the cluster file says, in its shorthands. Takes {replicas, given}. */}}
{{- define "rackserve.replicas" -}}
{{- $replicas := dict "min" 1 -}}
{{- if kindIs "map" .replicas -}}
{{- $replicas = deepCopy .replicas -}}
{{- else if not (kindIs "invalid" .replicas) -}}
{{- $replicas = dict "min" (int .replicas) "max" (int .replicas) -}}
{{- end -}}
{{- range $key, $value := pick .given "min" "max" -}}
{{- $_ := set $replicas $key (int $value) -}}
{{- end -}}
{{- if not (hasKey $replicas "min") -}}{{- $_ := set $replicas "min" 1 -}}{{- end -}}
{{- if not (hasKey $replicas "max") -}}{{- $_ := set $replicas "max" (max 1 (int $replicas.min)) -}}{{- end -}}
{{- toJson $replicas -}}
{{- end -}}

{{/* min and max of a pool, as JSON; what the pool does not say, its model says. Takes {pool, model, given}, given as values.models has it of the model. */}}
{{- define "rackserve.poolReplicas" -}}
{{- $own := .pool.replicas -}}
{{- if kindIs "invalid" $own -}}
{{- $own = include "rackserve.replicas" (dict "replicas" .model.replicas "given" .given) | fromJson -}}
{{- end -}}
{{- include "rackserve.replicas" (dict "replicas" $own "given" (default dict (get (default dict .given.pools) .pool.name))) -}}
{{- end -}}

{{/* Ports and times of the cluster file with the spec's defaults, as JSON. */}}
{{- define "rackserve.ports" -}}
{{- $modelDrain := 0 -}}
{{- range .Values.clusterFile.models -}}
{{- $modelDrain = max $modelDrain (int (ceil (default 120 .drain_timeout_s))) -}}
{{- end -}}
{{- $gateway := default dict .Values.clusterFile.gateway -}}
{{- $cluster := default dict .Values.clusterFile.cluster -}}
{{- toJson (dict
  "apps" (int (default 8000 $gateway.port))
  "admin" (int (default 8002 $gateway.admin_port))
  "serve" (int (default 8001 $cluster.serve_port))
  "gatewayDrain" (int (ceil (default 30 $gateway.drain_timeout_s)))
  "modelDrain" $modelDrain
  "name" (default "rackserve" $cluster.name)) -}}
{{- end -}}

{{/* The port of the gateways' Service. */}}
{{- define "rackserve.servicePort" -}}
{{- $usual := ternary 443 (include "rackserve.ports" . | fromJson).apps (ne .Values.gateway.tls.secretName "") -}}
{{- int (default $usual .Values.gateway.service.port) -}}
{{- end -}}

{{/* Serve's own config, which KubeRay sends to the head: one application, built from the cluster file. */}}
{{- define "rackserve.serveConfig" -}}
{{- $ports := include "rackserve.ports" . | fromJson -}}
proxy_location: HeadOnly
http_options:
  host: 0.0.0.0
  port: {{ int $ports.serve }}
applications:
  - name: {{ $ports.name | quote }}
    import_path: deployments.app:build
    route_prefix: /{{ $ports.name }}
    args:
      spec:
{{ include "rackserve.clusterFile" . | fromJson | toYaml | indent 8 }}
{{- end -}}
