{{/* A pod of a GPU (or CPU) group: Ray places replicas, or parts of one, on it. Takes {root, group}. */}}
{{- define "rackserve.modelPod" -}}
{{- $group := .group -}}
{{- $rdma := and $group.rdma $group.rdma.resource -}}
metadata:
  labels:
    {{- include "rackserve.podLabels" .root | nindent 4 }}
    app.kubernetes.io/component: model
    rackserve.io/group: {{ $group.name }}
  {{- with merge (deepCopy (default dict $group.annotations)) .root.Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "rackserve.podSpec" (dict "root" .root "component" "model") | nindent 2 }}
  {{- with $group.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $group.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $group.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $group.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if or $group.affinity $group.cliqueAffinity }}
  affinity:
    {{- with $group.affinity }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- if $group.cliqueAffinity }}
    # All pods of the group in one NVLink clique, whichever the first of them came to.
    podAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: nvidia.com/gpu.clique
          labelSelector:
            matchLabels:
              {{- include "rackserve.podLabels" .root | nindent 14 }}
              rackserve.io/group: {{ $group.name }}
    {{- end }}
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
          cpu: {{ $group.cpu }}
          memory: {{ $group.memory }}
          {{- if gt (int $group.gpus) 0 }}
          {{ default "nvidia.com/gpu" $group.gpuResource }}: {{ int $group.gpus }}
          {{- end }}
          {{- if $rdma }}
          {{ $group.rdma.resource }}: {{ int $group.rdma.count }}
          {{- end }}
        {{- if $group.computeDomain }}
        claims:
          - name: compute-domain
        {{- end }}
      securityContext:
        {{- include "rackserve.containerSecurity" (dict "root" .root "rdma" $rdma) | nindent 8 }}
      env:
        {{- include "rackserve.env" (dict "root" .root "component" "model" "env" $group.env) | nindent 8 }}
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
