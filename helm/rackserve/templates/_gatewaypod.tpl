{{/* A gateway pod: ready when its gateway is, so that the Service sends it nothing earlier.
Takes {root, ports, joins}; joins: the pod starts Ray by itself, else KubeRay has it do so. */}}
{{- define "rackserve.gatewayPod" -}}
metadata:
  labels:
    {{- include "rackserve.mapping" (list .root.Values.podLabels (include "rackserve.podLabels" .root | fromYaml) (dict "app.kubernetes.io/component" "gateway")) | nindent 4 }}
  {{- with .root.Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "rackserve.podSpec" (dict "root" .root "component" "gateway") | nindent 2 }}
  {{- with .root.Values.gateway.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- $selector := set (include "rackserve.podLabels" .root | fromYaml) "app.kubernetes.io/component" "gateway" }}
  {{- with include "rackserve.spread" (dict "constraints" .root.Values.gateway.topologySpreadConstraints "labels" $selector) }}
  topologySpreadConstraints:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.gateway.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.gateway.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  affinity:
    {{- if .root.Values.gateway.affinity }}
    {{- toYaml .root.Values.gateway.affinity | nindent 4 }}
    {{- else }}
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "rackserve.podLabels" .root | nindent 16 }}
                app.kubernetes.io/component: gateway
    {{- end }}
  {{- if .joins }}
  initContainers:
    - name: wait-for-head
      image: {{ include "rackserve.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: [/bin/bash, -c, --]
      args: ['until ray health-check --address="$RAY_ADDRESS"; do echo "waiting for Ray at $RAY_ADDRESS"; sleep 2; done']
      resources:
        limits: {cpu: 500m, memory: 512Mi}
      securityContext:
        {{- include "rackserve.containerSecurity" .root | nindent 8 }}
      env:
        {{- include "rackserve.env" (dict "root" .root "component" "gateway" "joins" true) | nindent 8 }}
      volumeMounts:
        {{- include "rackserve.volumeMounts" (dict "root" .root "component" "gateway") | nindent 8 }}
  {{- end }}
  containers:
    - name: ray-worker
      image: {{ include "rackserve.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      {{- if .joins }}
      command: [/bin/bash, -c, --]
      args: [{{ include "rackserve.joinCommand" .root | quote }}]
      {{- end }}
      ports:
        - {name: apps, containerPort: {{ int .ports.apps }}}
        {{- range $k := until (int .root.Values.gateway.processes) }}
        - {name: admin-{{ $k }}, containerPort: {{ add (int $.ports.admin) $k }}}
        {{- end }}
        - {name: metrics, containerPort: 8080}
      resources:
        {{- toYaml .root.Values.gateway.resources | nindent 8 }}
      securityContext:
        {{- include "rackserve.containerSecurity" .root | nindent 8 }}
      env:
        {{- include "rackserve.env" (dict "root" .root "component" "gateway" "joins" .joins) | nindent 8 }}
      startupProbe:
        {{- include "rackserve.rayHealth" (dict "failures" 60) | nindent 8 }}
      livenessProbe:
        {{- include "rackserve.rayHealth" (dict "failures" 24) | nindent 8 }}
      readinessProbe:
        httpGet:
          path: /ready
          port: apps
          scheme: {{ ternary "HTTPS" "HTTP" (ne .root.Values.gateway.tls.secretName "") }}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 3
      lifecycle:
        {{- include "rackserve.drain" (dict "root" .root "component" "gateway") | nindent 8 }}
      volumeMounts:
        {{- include "rackserve.volumeMounts" (dict "root" .root "component" "gateway") | nindent 8 }}
  volumes:
    {{- include "rackserve.volumes" (dict "root" .root "component" "gateway" "shm" "") | nindent 4 }}
{{- end -}}
