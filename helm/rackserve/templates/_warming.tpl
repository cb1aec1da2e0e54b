{{/* Models are downloaded before a pod joins Ray, so that Ray places no replica where it would have to wait for them. */}}

{{/* What engines in a group download, as a JSON list of SOURCE or SOURCE@REVISION; empty where nothing is warmed. Models with a
download_dir or a load_format of their own are left to the engine. Takes {root, group}. */}}
{{- define "rackserve.warmedSources" -}}
{{- $found := list -}}
{{- if .root.Values.modelCache.warm -}}
{{- range $model := .root.Values.clusterFile.models -}}
{{- range $part := default (list dict) $model.pools -}}
{{- $pool := merge (deepCopy $part) (deepCopy (omit $model "pools")) -}}
{{- $arguments := default dict $pool.engine_args -}}
{{- $isOwn := or $arguments.download_dir (get $arguments "download-dir") $arguments.load_format (get $arguments "load-format") -}}
{{- $isHere := or (not $pool.node_group) (eq $pool.node_group $.group.name) -}}
{{- $hasGpus := or (eq (toString $pool.gpus_per_replica) "0") (gt (int $.group.gpus) 0) -}}
{{- if and (eq (default "vllm" $pool.engine) "vllm") $isHere $hasGpus (not $isOwn) -}}
{{- $revision := default "" $arguments.revision -}}
{{- $found = append $found (ternary (printf "%s@%v" $pool.source $revision) $pool.source (not (empty $revision))) -}}
{{- $found = append $found (default dict $pool.speculative).model -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $sources := list -}}
{{- range $source := compact $found | uniq -}}
{{- if not (regexMatch "^[./~]" $source) -}}{{- $sources = append $sources $source -}}{{- end -}}
{{- end -}}
{{- toJson $sources -}}
{{- end -}}

{{/* The container that downloads them, with the cache, the environment and the rights of the group's own. Takes {root, group,
sources}. */}}
{{- define "rackserve.warmContainer" -}}
- name: warm-cache
  image: {{ default (include "rackserve.image" .root) .group.image }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: ["rackserve", "models", "warm"]
  args: {{ toJson .sources }}
  resources:
    limits: {cpu: "1", memory: 4Gi}
  securityContext:
    {{- include "rackserve.groupSecurity" (dict "root" .root "group" .group) | nindent 4 }}
  env:
    {{- include "rackserve.env" (dict "root" .root "component" "model" "env" .group.env "group" .group "rdma" (include "rackserve.usesRdma" .group)) | nindent 4 }}
  {{- with .group.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    {{- include "rackserve.groupMounts" (dict "root" .root "group" .group) | nindent 4 }}
{{- end -}}
