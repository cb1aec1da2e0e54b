{{/* A pod of a GPU (or CPU) group: Ray places replicas, or parts of one, on it. Takes {root, group}. */}}
{{- define "rackserve.modelPod" -}}
{{- $group := .group -}}
metadata:
  labels:
    {{- include "rackserve.podLabels" .root | nindent 4 }}
    app.kubernetes.io/component: model
    rackserve.io/group: {{ $group.name | quote }}
  {{- with include "rackserve.mapping" (list .root.Values.podAnnotations $group.annotations) }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
  {{- include "rackserve.podSpec" (dict "root" .root "component" "model" "security" $group.podSecurityContext) | nindent 2 }}
  {{- with $group.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with $group.runtimeClassName }}
  runtimeClassName: {{ . | quote }}
  {{- end }}
  {{- with $group.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $group.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "rackserve.groupAffinity" . }}
  affinity:
    {{- . | nindent 4 }}
  {{- end }}
  {{- if $group.computeDomain }}
  resourceClaims:
    - name: compute-domain
      resourceClaimTemplateName: {{ include "rackserve.fullname" .root }}-{{ $group.name }}
  {{- end }}
  containers:
    - name: ray-worker
      image: {{ default (include "rackserve.image" .root) $group.image }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      ports:
        - {name: metrics, containerPort: 8080}
      resources:
        limits:
          {{- include "rackserve.groupLimits" $group | nindent 10 }}
        {{- with include "rackserve.diskRequest" .root }}
        requests:
          ephemeral-storage: {{ . | quote }}
        {{- end }}
        {{- if $group.computeDomain }}
        claims:
          - name: compute-domain
        {{- end }}
      securityContext:
        {{- include "rackserve.groupSecurity" . | nindent 8 }}
      env:
        {{- include "rackserve.env" (dict "root" .root "component" "model" "env" $group.env "rdma" (include "rackserve.usesRdma" $group)) | nindent 8 }}
      startupProbe:
        {{- include "rackserve.rayHealth" (dict "failures" 60) | nindent 8 }}
      livenessProbe:
        {{- include "rackserve.rayHealth" (dict "failures" 24) | nindent 8 }}
      readinessProbe:
        {{- include "rackserve.rayHealth" (dict "failures" 3) | nindent 8 }}
      lifecycle:
        {{- include "rackserve.drain" (dict "root" .root "component" "model") | nindent 8 }}
      volumeMounts:
        {{- if $group.shm }}
        - name: shared-mem
          mountPath: /dev/shm
        {{- end }}
        {{- include "rackserve.volumeMounts" (dict "root" .root "component" "model") | nindent 8 }}
  volumes:
    {{- include "rackserve.volumes" (dict "root" .root "component" "model" "shm" $group.shm) | nindent 4 }}
{{- end -}}

{{/* A group's affinity, as YAML; "" for none: the group's own, and with `cliqueAffinity` that all its pods are in one NVLink clique,
whichever the first of them came to. Takes {root, group}. */}}
{{- define "rackserve.groupAffinity" -}}
{{- $affinity := deepCopy (default dict .group.affinity) -}}
{{- if .group.cliqueAffinity -}}
{{- $labels := set (include "rackserve.podLabels" .root | fromYaml) "rackserve.io/group" .group.name -}}
{{- $clique := dict "topologyKey" "nvidia.com/gpu.clique" "labelSelector" (dict "matchLabels" $labels) -}}
{{- $pods := default dict $affinity.podAffinity -}}
{{- $required := append (default list $pods.requiredDuringSchedulingIgnoredDuringExecution) $clique -}}
{{- $_ := set $affinity "podAffinity" (set $pods "requiredDuringSchedulingIgnoredDuringExecution" $required) -}}
{{- end -}}
{{- if $affinity -}}{{- toYaml $affinity -}}{{- end -}}
{{- end -}}

{{/* What a group's container may use, as YAML. Takes the group. */}}
{{- define "rackserve.groupLimits" -}}
{{- $limits := dict "cpu" .cpu "memory" .memory -}}
{{- if gt (int .gpus) 0 -}}{{- $_ := set $limits (default "nvidia.com/gpu" .gpuResource) (int .gpus) -}}{{- end -}}
{{- if and .rdma .rdma.resource -}}{{- $_ := set $limits .rdma.resource (int .rdma.count) -}}{{- end -}}
{{- toYaml $limits -}}
{{- end -}}
