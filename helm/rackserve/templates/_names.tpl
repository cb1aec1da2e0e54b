{{/* Names and labels of everything the chart renders. */}}

{{- define "rackserve.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of objects. Not for pods: KubeRay's head Service selects pods by its own app.kubernetes.io/name. */}}
{{- define "rackserve.labels" -}}
{{- $own := dict
  "app.kubernetes.io/name" "rackserve"
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- include "rackserve.mapping" (list $own .Values.labels (include "rackserve.podLabels" . | fromYaml)) -}}
{{- end -}}

{{/* What all pods of this release share, and what selects them. */}}
{{- define "rackserve.podLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/part-of: rackserve
{{- end -}}

{{- define "rackserve.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "rackserve.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "rackserve.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}
