{{/* Room on a node's disk for what a replica downloads and compiles. The weights' sizes are the planner's (schema/weights.json). */}}

{{/* A quantity in GiB, as text of a number. Takes the quantity. */}}
{{- define "rackserve.gib" -}}
{{- $unit := regexFind "[A-Za-z]*$" . -}}
{{- $number := trimSuffix $unit . | float64 -}}
{{- $bytes := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 "m" 0.001 -}}
{{- divf (mulf $number (get $bytes $unit)) 1073741824.0 -}}
{{- end -}}

{{/* What the models take on a disk, as JSON: GiB of each source whose size is known, and of the others a guess (two bytes for each
parameter, if the name tells their number, as cluster/planning/disk_room.py guesses), which bounds and refuses nothing. */}}
{{- define "rackserve.weights" -}}
{{- $known := dict -}}
{{- $unknown := dict -}}
{{- $planned := .Files.Get "schema/weights.json" | fromJson -}}
{{- range $model := .Values.clusterFile.models -}}
{{- if eq (default "vllm" $model.engine) "vllm" -}}
{{- $sources := list $model.source -}}
{{- range $part := prepend (default list $model.pools) $model -}}
{{- $sources = append $sources (default dict $part.speculative).model -}}
{{- end -}}
{{- range $source := compact $sources | uniq -}}
{{- if hasKey $.Values.modelCache.weights $source -}}
{{- $_ := set $known $source (include "rackserve.gib" (get $.Values.modelCache.weights $source) | float64) -}}
{{- else if hasKey $planned $source -}}
{{- $_ := set $known $source (divf (get $planned $source) 1073741824.0) -}}
{{- else if not (regexMatch "^[./~]" $source) -}}
{{- $billions := 0.0 -}}
{{- range $number := regexFindAll "[0-9]+(\\.[0-9]+)?[bB]([^A-Za-z]|$)" (base $source) -1 -}}
{{- $billions = maxf $billions (regexFind "^[0-9.]+" $number | float64) -}}
{{- end -}}
{{- $_ := set $unknown $source (divf (mulf $billions 2.1e9) 1073741824.0) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson (dict "known" $known "unknown" $unknown) -}}
{{- end -}}

{{/* GiB of all models whose size is known, and 10 for kernels, as text of a whole number. */}}
{{- define "rackserve.neededGib" -}}
{{- $sum := 10.0 -}}
{{- range $_, $gib := (include "rackserve.weights" . | fromJson).known -}}
{{- $sum = addf $sum $gib -}}
{{- end -}}
{{- ceil $sum | int -}}
{{- end -}}

{{/* Bound of the emptyDir: as given; else what the models need, with a guess of what is not known and 200Gi then at least. */}}
{{- define "rackserve.cacheSize" -}}
{{- $needed := include "rackserve.neededGib" . | int -}}
{{- $unknown := (include "rackserve.weights" . | fromJson).unknown -}}
{{- if .Values.modelCache.size -}}
{{- .Values.modelCache.size -}}
{{- else if $unknown -}}
{{- $guessed := float64 $needed -}}
{{- range $_, $gib := $unknown -}}
{{- $guessed = addf $guessed $gib -}}
{{- end -}}
{{- printf "%dGi" (max (ceil $guessed | int) 200) -}}
{{- else -}}
{{- printf "%dGi" $needed -}}
{{- end -}}
{{- end -}}

{{/* What a pod asks its node's disk for: what is known to be needed, at most the bound; "" where weights are no part of the pod's own
disk, or no size is known. */}}
{{- define "rackserve.diskRequest" -}}
{{- if and (eq .Values.modelCache.type "emptyDir") (include "rackserve.weights" . | fromJson).known -}}
{{- $needed := include "rackserve.neededGib" . | int -}}
{{- if lt (include "rackserve.gib" (include "rackserve.cacheSize" .) | float64) (float64 $needed) -}}
{{- include "rackserve.cacheSize" . -}}
{{- else -}}
{{- printf "%dGi" $needed -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Problems of sizes, as a JSON list. */}}
{{- define "rackserve.validate.sizes" -}}
{{- $problems := list -}}
{{- if and (eq .Values.modelCache.type "emptyDir") .Values.modelCache.size -}}
{{- $bound := include "rackserve.gib" .Values.modelCache.size | float64 -}}
{{- range $source, $gib := (include "rackserve.weights" . | fromJson).known -}}
{{- if gt $gib $bound -}}
{{- $problems = append $problems (printf "modelCache.size: %s, but %s takes %dGi on each node, and its pods would be evicted again and again; leave the size out, or keep weights elsewhere (modelCache.type: pvc or hostPath)" $.Values.modelCache.size $source (ceil $gib | int)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
