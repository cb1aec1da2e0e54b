{{/* The cluster file as `rackserve serve` takes it: values.clusterFile, values.models over it, and what the chart knows. */}}

{{- define "rackserve.clusterFile" -}}
{{- $file := deepCopy .Values.clusterFile -}}
{{- $models := list -}}
{{- range $model := $file.models -}}
{{- if hasKey $.Values.models $model.name -}}
{{- $_ := set $model "replicas" (include "rackserve.replicas" (dict "root" $ "model" $model) | fromJson) -}}
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

{{/* min and max of a model, as JSON: values.models over what the cluster file says, in its shorthands. Takes {root, model}. */}}
{{- define "rackserve.replicas" -}}
{{- $replicas := dict "min" 1 -}}
{{- if kindIs "map" .model.replicas -}}
{{- $replicas = deepCopy .model.replicas -}}
{{- else if hasKey .model "replicas" -}}
{{- $replicas = dict "min" (int .model.replicas) "max" (int .model.replicas) -}}
{{- end -}}
{{- range $key, $value := default dict (get .root.Values.models .model.name) -}}
{{- $_ := set $replicas $key (int $value) -}}
{{- end -}}
{{- if not (hasKey $replicas "min") -}}{{- $_ := set $replicas "min" 1 -}}{{- end -}}
{{- if not (hasKey $replicas "max") -}}{{- $_ := set $replicas "max" (max 1 (int $replicas.min)) -}}{{- end -}}
{{- toJson $replicas -}}
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

{{/* Serve's own config, which KubeRay sends to the head: one application, built from the cluster file. */}}
{{- define "rackserve.serveConfig" -}}
{{- $ports := include "rackserve.ports" . | fromJson -}}
proxy_location: HeadOnly
http_options:
  host: 0.0.0.0
  port: {{ int $ports.serve }}
applications:
  - name: {{ $ports.name }}
    import_path: deployments.app:build
    route_prefix: /{{ $ports.name }}
    args:
      spec:
{{ include "rackserve.clusterFile" . | fromJson | toYaml | indent 8 }}
{{- end -}}
