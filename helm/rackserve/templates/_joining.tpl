{{/* How a pod that KubeRay knows nothing of joins the release's Ray cluster: what KubeRay gives its own worker pods. */}}

{{/* The head's Service of gateway-deployment.yaml. KubeRay makes two that will not do: one with the RayCluster's name, which
changes, and one with the RayService's, which it makes only once the application runs, so once there are gateways. */}}
{{- define "rackserve.headService" -}}
{{ include "rackserve.fullname" . }}-gcs
{{- end -}}

{{/* `exec`: Ray itself is told when the pod ends. */}}
{{- define "rackserve.joinCommand" -}}
{{- $labels := list -}}
{{- range $key, $value := include "rackserve.gatewayLabels" . | fromJson -}}
{{- $labels = append $labels (printf "%s=%s" $key $value) -}}
{{- end -}}
ulimit -n 65536 || ulimit -n $(ulimit -Hn); exec ray start --address="$RAY_ADDRESS" --labels={{ join "," $labels }}
{{- range $key, $value := include "rackserve.gatewayStart" . | fromJson }} --{{ $key }}={{ $value }}{{ end }} --metrics-export-port=8080 --dashboard-agent-listen-port=52365 --block
{{- end -}}

{{/* Not RAY_CLOUD_INSTANCE_ID: Ray's autoscaler v2 would look for a pod of a worker group under it, and fail. */}}
{{- define "rackserve.joinEnv" -}}
- name: RAY_ADDRESS
  value: {{ include "rackserve.headService" . }}.{{ .Release.Namespace }}.svc:6379
- name: RAY_NODE_TYPE_NAME
  value: gateway
- name: RAY_gcs_server_request_timeout_seconds
  value: "5"
- name: RAY_timeout_ms_task_wait_for_death_info
  value: "0"
{{- if .Values.auth.enabled }}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .Values.auth.secretName | quote }}
      key: auth_token
{{- end }}
{{- end -}}
