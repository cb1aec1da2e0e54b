{{/* The head: Ray's GCS, dashboard and Serve's controller. Nothing of a request passes it. Takes {root, ports}. */}}
{{- define "rackserve.headPod" -}}
metadata:
  labels:
    {{- include "rackserve.mapping" (list .root.Values.podLabels (include "rackserve.podLabels" .root | fromYaml) (dict "app.kubernetes.io/component" "head")) | nindent 4 }}
  {{- with .root.Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "rackserve.podSpec" (dict "root" .root "component" "head") | nindent 2 }}
  {{- with .root.Values.head.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with .root.Values.head.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.head.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.head.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: ray-head
      image: {{ include "rackserve.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      ports:
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: client, containerPort: 10001}
        - {name: metrics, containerPort: 8080}
        - {name: serve, containerPort: {{ int .ports.serve }}}
      resources:
        {{- toYaml .root.Values.head.resources | nindent 8 }}
      securityContext:
        {{- include "rackserve.containerSecurity" .root | nindent 8 }}
      env:
        {{- include "rackserve.env" (dict "root" .root "component" "head" "env" .root.Values.head.env) | nindent 8 }}
      startupProbe:
        {{- include "rackserve.rayHealth" (dict "failures" 60) | nindent 8 }}
      livenessProbe:
        {{- include "rackserve.rayHealth" (dict "failures" 24) | nindent 8 }}
      readinessProbe:
        {{- include "rackserve.rayHealth" (dict "failures" 3) | nindent 8 }}
      volumeMounts:
        {{- include "rackserve.volumeMounts" (dict "root" .root "component" "head") | nindent 8 }}
  volumes:
    {{- include "rackserve.volumes" (dict "root" .root "component" "head" "shm" "") | nindent 4 }}
{{- end -}}
