{{/* A pod of a GPU (or CPU) group: Ray places replicas, or parts of one, on it. Takes {root, group}. */}}
{{- define "rackserve.modelPod" -}}
{{- $group := .group -}}
metadata:
  labels:
    {{- include "rackserve.mapping" (list .root.Values.podLabels $group.podLabels (include "rackserve.groupSelector" . | fromYaml)) | nindent 4 }}
  {{- with include "rackserve.mapping" (list .root.Values.podAnnotations $group.annotations) }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
  {{- include "rackserve.podSpec" (dict "root" .root "component" "model" "security" $group.podSecurityContext) | nindent 2 }}
  {{- with $group.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- if $group.hostNetwork }}
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  {{- with include "rackserve.spread" (dict "constraints" $group.topologySpreadConstraints "labels" (include "rackserve.groupSelector" . | fromYaml)) }}
  topologySpreadConstraints:
    {{- . | nindent 4 }}
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
  {{- with include "rackserve.groupClaims" . }}
  resourceClaims:
    {{- . | nindent 4 }}
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
        {{- with include "rackserve.groupRequests" . }}
        requests:
          {{- . | nindent 10 }}
        {{- end }}
        {{- with include "rackserve.groupClaims" . | fromYamlArray }}
        claims:
          {{- range . }}
          - name: {{ .name | quote }}
          {{- end }}
        {{- end }}
      securityContext:
        {{- include "rackserve.groupSecurity" . | nindent 8 }}
      env:
        {{- include "rackserve.env" (dict "root" .root "component" "model" "env" $group.env "group" $group "rdma" (include "rackserve.usesRdma" $group)) | nindent 8 }}
      {{- with $group.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      startupProbe:
        {{- include "rackserve.rayHealth" (dict "failures" 60) | nindent 8 }}
      livenessProbe:
        {{- include "rackserve.rayHealth" (dict "failures" 24) | nindent 8 }}
      readinessProbe:
        {{- include "rackserve.rayHealth" (dict "failures" 3) | nindent 8 }}
      lifecycle:
        {{- include "rackserve.drain" (dict "root" .root "component" "model") | nindent 8 }}
      volumeMounts:
        {{- include "rackserve.groupMounts" . | nindent 8 }}
    {{- with $group.sidecars }}
    {{- include "rackserve.ownContainers" (dict "root" $.root "group" $group "containers" .) | nindent 4 }}
    {{- end }}
  {{- $warmed := include "rackserve.warmedSources" (dict "root" .root "group" $group) | fromJsonArray }}
  {{- if or $group.initContainers $warmed }}
  initContainers:
    {{- with $group.initContainers }}
    {{- include "rackserve.ownContainers" (dict "root" $.root "group" $group "containers" .) | nindent 4 }}
    {{- end }}
    {{- if $warmed }}
    {{- include "rackserve.warmContainer" (dict "root" .root "group" $group "sources" $warmed) | nindent 4 }}
    {{- end }}
  {{- end }}
  volumes:
    {{- $volumes := include "rackserve.volumes" (dict "root" .root "component" "model" "shm" $group.shm) | fromYamlArray }}
    {{- include "rackserve.entries" (dict "key" "name" "entries" (concat $volumes (default list $group.volumes))) | nindent 4 }}
{{- end -}}

{{/* Labels that select a group's pods, as YAML. Takes {root, group}. */}}
{{- define "rackserve.groupSelector" -}}
{{- $own := dict "app.kubernetes.io/component" "model" "rackserve.io/group" .group.name -}}
{{- include "rackserve.mapping" (list (include "rackserve.podLabels" .root | fromYaml) $own) -}}
{{- end -}}

{{/* Mounts of a group's container, as YAML: the chart's, and the group's own over them, by path. Takes {root, group}. */}}
{{- define "rackserve.groupMounts" -}}
{{- $mounts := include "rackserve.volumeMounts" (dict "root" .root "component" "model") | fromYamlArray -}}
{{- if .group.shm -}}{{- $mounts = prepend $mounts (dict "name" "shared-mem" "mountPath" "/dev/shm") -}}{{- end -}}
{{- include "rackserve.entries" (dict "key" "mountPath" "entries" (concat $mounts (default list .group.volumeMounts))) -}}
{{- end -}}

{{/* A group's own containers beside Ray's or before it, as YAML: as given, with the mounts of Ray's (so that they find the model cache) and
the security context of all containers unless they have their own. Takes {root, group, containers}. */}}
{{- define "rackserve.ownContainers" -}}
{{- $own := list -}}
{{- range $container := .containers -}}
{{- $mounts := concat (include "rackserve.groupMounts" $ | fromYamlArray) (default list $container.volumeMounts) -}}
{{- $merged := include "rackserve.entries" (dict "key" "mountPath" "entries" $mounts) | fromYamlArray -}}
{{- $security := default (include "rackserve.containerSecurity" $.root | fromYaml) $container.securityContext -}}
{{- $own = append $own (merge (dict "volumeMounts" $merged "securityContext" $security) $container) -}}
{{- end -}}
{{- toYaml $own -}}
{{- end -}}

{{/* Topology spread constraints, as YAML; "" for none. One without a selector counts the pods with these labels. Takes {constraints, labels}. */}}
{{- define "rackserve.spread" -}}
{{- $all := list -}}
{{- range $constraint := default list .constraints -}}
{{- $selector := default (dict "matchLabels" $.labels) $constraint.labelSelector -}}
{{- $all = append $all (merge (dict "labelSelector" $selector) $constraint) -}}
{{- end -}}
{{- if $all -}}{{- toYaml $all -}}{{- end -}}
{{- end -}}

{{/* A group's affinity, as YAML; "" for none: the group's own, and with `cliqueAffinity` that all its pods are in one NVLink clique,
whichever the first of them came to. Takes {root, group}. */}}
{{- define "rackserve.groupAffinity" -}}
{{- $affinity := deepCopy (default dict .group.affinity) -}}
{{- if .group.cliqueAffinity -}}
{{- $labels := omit (include "rackserve.groupSelector" . | fromYaml) "app.kubernetes.io/component" -}}
{{- $clique := dict "topologyKey" "nvidia.com/gpu.clique" "labelSelector" (dict "matchLabels" $labels) -}}
{{- $pods := default dict $affinity.podAffinity -}}
{{- $required := append (default list $pods.requiredDuringSchedulingIgnoredDuringExecution) $clique -}}
{{- $_ := set $affinity "podAffinity" (set $pods "requiredDuringSchedulingIgnoredDuringExecution" $required) -}}
{{- end -}}
{{- if $affinity -}}{{- toYaml $affinity -}}{{- end -}}
{{- end -}}

{{/* What a group's pods claim of DRA drivers, as YAML; "" for nothing: the rack's compute domain, and the group's own. Takes {root, group}. */}}
{{- define "rackserve.groupClaims" -}}
{{- $claims := list -}}
{{- if .group.computeDomain -}}
{{- $template := printf "%s-%s" (include "rackserve.fullname" .root) .group.name -}}
{{- $claims = append $claims (dict "name" "compute-domain" "resourceClaimTemplateName" $template) -}}
{{- end -}}
{{- include "rackserve.entries" (dict "key" "name" "entries" (concat $claims (default list .group.resourceClaims))) -}}
{{- end -}}

{{/* What a group's container may use, as YAML. Takes the group. */}}
{{- define "rackserve.groupLimits" -}}
{{- $limits := dict "cpu" .cpu "memory" .memory -}}
{{- $resource := ternary .gpuResource "nvidia.com/gpu" (hasKey . "gpuResource") -}}
{{- if and (gt (int .gpus) 0) $resource -}}{{- $_ := set $limits $resource (int .gpus) -}}{{- end -}}
{{- if and .rdma .rdma.resource -}}{{- $_ := set $limits .rdma.resource (int .rdma.count) -}}{{- end -}}
{{- include "rackserve.mapping" (list $limits (default dict .resources).limits) -}}
{{- end -}}

{{/* What a group's container asks its node for, where that is not its limit, as YAML; "" for nothing. Takes {root, group}. */}}
{{- define "rackserve.groupRequests" -}}
{{- $disk := include "rackserve.diskRequest" .root -}}
{{- $own := ternary (dict "ephemeral-storage" $disk) dict (ne $disk "") -}}
{{- include "rackserve.mapping" (list $own (default dict .group.resources).requests) -}}
{{- end -}}
