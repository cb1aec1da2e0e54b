{{/* What head, gateway and replica pods have in common. */}}

{{/* Takes {root, component, security}; security: the group's own of the pod's security context. */}}
{{- define "rackserve.podSpec" -}}
serviceAccountName: {{ include "rackserve.serviceAccountName" .root | quote }}
automountServiceAccountToken: {{ and .root.Values.autoscaler.enabled (eq .component "head") }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "rackserve.mapping" (list .root.Values.security.pod .security) | nindent 2 }}
terminationGracePeriodSeconds: {{ include "rackserve.graceSeconds" . }}
enableServiceLinks: false
{{- with .root.Values.schedulerName }}
schedulerName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Longer than anything in the pod takes to finish its answers. Takes {root, component}. */}}
{{- define "rackserve.graceSeconds" -}}
{{- $times := include "rackserve.ports" .root | fromJson -}}
{{- $drain := get (dict "head" 0 "gateway" $times.gatewayDrain "model" $times.modelDrain) .component -}}
{{- add (int $drain) (int .root.Values.drain.extraSeconds) -}}
{{- end -}}

{{/* A container's security context. */}}
{{- define "rackserve.containerSecurity" -}}
{{- toYaml .Values.security.container -}}
{{- end -}}

{{/* The security context of a group's container: the values', and the group's own over it. RDMA locks memory. Where nodes do not let
everybody do so (`rdma.memlock: capability`), that takes IPC_LOCK, which only root has any use of. Takes {root, group}. */}}
{{- define "rackserve.groupSecurity" -}}
{{- $context := deepCopy .root.Values.security.container -}}
{{- if eq (include "rackserve.locksByCapability" .group) "yes" -}}
{{- $capabilities := default dict $context.capabilities -}}
{{- $_ := set $capabilities "add" (uniq (append (default list $capabilities.add) "IPC_LOCK")) -}}
{{- $_ := set $context "capabilities" $capabilities -}}
{{- $_ := set $context "runAsUser" 0 -}}
{{- $_ := set $context "runAsNonRoot" false -}}
{{- end -}}
{{- include "rackserve.mapping" (list $context .group.securityContext) -}}
{{- end -}}

{{/* Whether a group's pods use RDMA, and whether they lock memory for it by a capability: "yes" or "no". Each takes the group. */}}
{{- define "rackserve.usesRdma" -}}
{{- if and .rdma (default dict .rdma).resource -}}yes{{- else -}}no{{- end -}}
{{- end -}}

{{- define "rackserve.locksByCapability" -}}
{{- if and .rdma (default dict .rdma).resource (ne (default "capability" (default dict .rdma).memlock) "node") -}}yes{{- else -}}no{{- end -}}
{{- end -}}

{{/* The root file system is read-only: everything that is written goes to these. Takes {root, component}. */}}
{{- define "rackserve.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
- name: home
  mountPath: /home/rackserve
{{- if eq .component "model" }}
- name: model-cache
  mountPath: /var/cache/rackserve
{{- if .root.Values.modelCache.readOnly }}
  readOnly: true
- name: compiled
  mountPath: /var/cache/rackserve-compiled
{{- end }}
{{- end }}
{{- if and (eq .component "gateway") .root.Values.gateway.tls.secretName }}
- name: tls
  mountPath: /etc/rackserve/tls
  readOnly: true
{{- end }}
{{- if and (eq .component "gateway") .root.Values.gateway.tenantKeys.secretName }}
- name: tenant-keys
  mountPath: /etc/rackserve/tenants
  readOnly: true
{{- end }}
{{- end -}}

{{/* Takes {root, component, shm}. */}}
{{- define "rackserve.volumes" -}}
- name: tmp
  emptyDir: {}
- name: home
  emptyDir: {}
{{- if .shm }}
- name: shared-mem
  emptyDir:
    medium: Memory
    sizeLimit: {{ .shm | quote }}
{{- end }}
{{- if eq .component "model" }}
- name: model-cache
  {{- if eq .root.Values.modelCache.type "pvc" }}
  persistentVolumeClaim:
    claimName: {{ .root.Values.modelCache.claimName | quote }}
  {{- else if eq .root.Values.modelCache.type "hostPath" }}
  hostPath:
    path: {{ .root.Values.modelCache.path | quote }}
    type: DirectoryOrCreate
  {{- else }}
  emptyDir:
    sizeLimit: {{ include "rackserve.cacheSize" .root | quote }}
  {{- end }}
{{- if .root.Values.modelCache.readOnly }}
- name: compiled
  emptyDir: {}
{{- end }}
{{- end }}
{{- if and (eq .component "gateway") .root.Values.gateway.tls.secretName }}
- name: tls
  secret:
    secretName: {{ .root.Values.gateway.tls.secretName | quote }}
    defaultMode: 0440
{{- end }}
{{- if and (eq .component "gateway") .root.Values.gateway.tenantKeys.secretName }}
- name: tenant-keys
  secret:
    secretName: {{ .root.Values.gateway.tenantKeys.secretName | quote }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{/* A container's environment: the chart's, that of all pods, that of its group, each wider one under the narrower.
Takes {root, component, env, joins, rdma, group}; joins: what a pod needs to join Ray by itself, which nobody overrides. */}}
{{- define "rackserve.env" -}}
{{- $chart := include "rackserve.chartEnv" . | fromYamlArray -}}
{{- $joining := ternary (include "rackserve.joinEnv" .root | fromYamlArray) list (default false .joins) -}}
{{- include "rackserve.entries" (dict "key" "name" "entries" (concat $chart .root.Values.env (default list .env) $joining)) -}}
{{- end -}}

{{/* What the chart sets. Takes {root, component, rdma, group}. */}}
{{- define "rackserve.chartEnv" -}}
- name: HOME
  value: /home/rackserve
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
{{- if not .root.Values.auth.enabled }}
{{- /* Said, for a token file in an image or a mounted home would turn it on for the head alone */}}
- name: RAY_AUTH_MODE
  value: disabled
{{- end }}
{{- /* cluster/ray_settings.py: Ray looks less often at what rarely changes here */}}
- name: RAY_SERVE_CONTROL_LOOP_INTERVAL_S
  value: "0.5"
- name: RAY_SERVE_METRICS_EXPORT_INTERVAL_MS
  value: "5000"
- name: RAY_event_stats
  value: "0"
- name: RAY_raylet_check_gc_period_milliseconds
  value: "1000"
- name: RAY_memory_monitor_refresh_ms
  value: "1000"
- name: RAY_kill_idle_workers_interval_ms
  value: "1000"
- name: RAY_local_fs_monitor_interval_ms
  value: "1000"
- name: RAY_object_manager_timer_freq_ms
  value: "1000"
- name: RAY_LOG_MONITOR_MANY_FILES_THRESHOLD
  value: "0"
- name: LOG_NAME_UPDATE_INTERVAL_S
  value: "5"
- name: EVENT_AGENT_REPORT_INTERVAL_SECONDS
  value: "1"
{{- /* The same: without the head, nodes go on for an hour and a half in place of a minute */}}
- name: RAY_gcs_rpc_server_reconnect_timeout_s
  value: "5400"
{{- if eq .component "head" }}
{{- /* cluster/ray_settings.py: a dead node is known within 9 s in place of 64 s */}}
- name: RAY_health_check_initial_delay_ms
  value: "5000"
- name: RAY_health_check_period_ms
  value: "1000"
- name: RAY_health_check_timeout_ms
  value: "2000"
- name: RAY_health_check_failure_threshold
  value: "3"
{{- end }}
{{- if eq .component "model" }}
- name: RACKSERVE_CACHE
  value: /var/cache/rackserve
- name: HF_HOME
  value: /var/cache/rackserve/huggingface
{{- $compiled := ternary "/var/cache/rackserve-compiled" "/var/cache/rackserve" .root.Values.modelCache.readOnly }}
- name: VLLM_CACHE_ROOT
  value: {{ $compiled }}/vllm
- name: TRITON_CACHE_DIR
  value: {{ $compiled }}/triton
- name: TORCHINDUCTOR_CACHE_DIR
  value: {{ $compiled }}/inductor
{{- if .root.Values.modelCache.readOnly }}
- name: HF_MODULES_CACHE
  value: {{ $compiled }}/modules
- name: HF_HUB_OFFLINE
  value: "1"
{{- end }}
{{- $fabric := .root.Files.Get "schema/fabric.json" | fromJson }}
{{- if .group.computeDomain }}
{{- range $name, $value := $fabric.computeDomain }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- if and (gt (int .group.gpus) 0) (not .group.hostNetwork) }}
{{- range $name, $value := $fabric.pod }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- if eq (default "no" .rdma) "yes" }}
{{- /* deployments/replica/memory_lock.py: without the right to lock memory a replica does not start, in place of falling back to TCP */}}
- name: RACKSERVE_LOCKS_MEMORY
  value: "1"
{{- end }}
{{- with .root.Values.hfTokenSecret }}
{{- if .name }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .name | quote }}
      key: {{ .key | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Ray's own health on a node: /api/healthz of its agent needs no token. Given here because KubeRay would otherwise ask
worker pods for a Serve proxy, which only the head has. Takes {failures}. */}}
{{- define "rackserve.rayHealth" -}}
httpGet:
  path: /api/healthz
  port: 52365
periodSeconds: 5
timeoutSeconds: 5
failureThreshold: {{ .failures }}
{{- end -}}

{{/* Before a pod ends, Serve starts what ran here elsewhere and lets running answers finish. Takes {root, component}. */}}
{{- define "rackserve.drain" -}}
preStop:
  exec:
    command: [rackserve, drain-node, --timeout, {{ sub (include "rackserve.graceSeconds" . | int) 10 | quote }}]
{{- end -}}
