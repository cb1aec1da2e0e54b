{{/*
The values against schema/values.json, which is made from the cluster file's spec: each problem names the key, the value
and what would be right, all at once. Helm's own check by values.schema.json, which names no value, steps back for it
(`valuesCheckedBy`). It knows the part of JSON Schema that pydantic writes.
*/}}

{{- define "rackserve.validate.schema" -}}
{{- $schema := .Files.Get "schema/values.json" | fromJson -}}
{{- $values := .Values | toJson | fromJson -}}
{{- include "rackserve.schema.check" (dict "schema" $schema "value" $values "path" "" "defs" (get $schema "$defs")) -}}
{{- end -}}

{{/* A schema with its reference followed. */}}
{{- define "rackserve.schema.resolved" -}}
{{- $schema := .schema -}}
{{- if hasKey $schema "$ref" -}}
{{- $schema = get .defs (get $schema "$ref" | trimPrefix "#/$defs/") -}}
{{- end -}}
{{- toJson $schema -}}
{{- end -}}

{{/* The problems of one value, as a JSON list. Takes schema, value, path and defs. */}}
{{- define "rackserve.schema.check" -}}
{{- $schema := include "rackserve.schema.resolved" . | fromJson -}}
{{- $options := concat (default list $schema.anyOf) (default list $schema.oneOf) -}}
{{- $problems := list -}}
{{- if $options -}}
{{- $problems = include "rackserve.schema.checkOptions" (merge (dict "schema" $schema "options" $options) .) | fromJsonArray -}}
{{- else if ne (include "rackserve.schema.fits" (dict "schema" $schema "value" .value)) "yes" -}}
{{- $wanted := include "rackserve.schema.wanted" (dict "schema" $schema "defs" .defs) -}}
{{- $problems = append $problems (printf "%s: %s; must be %s" .path (toJson .value) $wanted) -}}
{{- else if kindIs "map" .value -}}
{{- $problems = include "rackserve.schema.checkKeys" (merge (dict "schema" $schema) .) | fromJsonArray -}}
{{- else if and (kindIs "slice" .value) (hasKey $schema "items") -}}
{{- range $index, $item := .value -}}
{{- $at := dict "schema" $schema.items "value" $item "path" (printf "%s[%d]" $.path $index) "defs" $.defs -}}
{{- $problems = concat $problems (include "rackserve.schema.check" $at | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{/* A value that may be one of several things: none of their problems if it is one, else those of the nearest. */}}
{{- define "rackserve.schema.checkOptions" -}}
{{- $fits := false -}}
{{- $nearest := list -}}
{{- $options := .options -}}
{{- $kinds := default dict .schema.discriminator -}}
{{- if and $kinds (kindIs "map" .value) -}}
{{- $kind := get .value $kinds.propertyName | toString -}}
{{- if hasKey $kinds.mapping $kind -}}
{{- $options = list (dict "$ref" (get $kinds.mapping $kind)) -}}
{{- end -}}
{{- end -}}
{{- range $option := $options -}}
{{- $resolved := include "rackserve.schema.resolved" (dict "schema" $option "defs" $.defs) | fromJson -}}
{{- $at := dict "schema" $resolved "value" $.value "path" $.path "defs" $.defs -}}
{{- $problems := include "rackserve.schema.check" $at | fromJsonArray -}}
{{- if not $problems -}}
{{- $fits = true -}}
{{- else if and (kindIs "map" $.value) (or (eq (default "" $resolved.type) "object") (hasKey $resolved "oneOf")) -}}
{{- if or (not $nearest) (lt (len $problems) (len $nearest)) -}}
{{- $nearest = $problems -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $fits -}}
[]
{{- else if $nearest -}}
{{- toJson $nearest -}}
{{- else -}}
{{- $wanted := include "rackserve.schema.wanted" (dict "schema" .schema "defs" .defs) -}}
{{- list (printf "%s: %s; must be %s" .path (toJson .value) $wanted) | toJson -}}
{{- end -}}
{{- end -}}

{{/* Whether a value is of a schema's type and within its bounds, whatever is inside it: "yes", or "no". */}}
{{- define "rackserve.schema.fits" -}}
{{- $schema := .schema -}}
{{- $value := .value -}}
{{- $kinds := dict "object" "map" "array" "slice" "string" "string" "boolean" "bool" "null" "invalid" "integer" "float64" "number" "float64" -}}
{{- $type := default "" $schema.type -}}
{{- $fits := or (eq $type "") (eq (get $kinds $type) (kindOf $value)) -}}
{{- if and $fits (eq $type "integer") -}}
{{- $fits = eq (floor $value) $value -}}
{{- end -}}
{{- if and $fits (kindIs "float64" $value) -}}
{{- $fits = and
  (or (not (hasKey $schema "minimum")) (ge $value (float64 $schema.minimum)))
  (or (not (hasKey $schema "maximum")) (le $value (float64 $schema.maximum)))
  (or (not (hasKey $schema "exclusiveMinimum")) (gt $value (float64 $schema.exclusiveMinimum))) -}}
{{- else if and $fits (kindIs "string" $value) -}}
{{- $fits = and
  (regexMatch (default "" $schema.pattern) $value)
  (ge (len $value) (int (default 0 $schema.minLength)))
  (or (not (hasKey $schema "maxLength")) (le (len $value) (int $schema.maxLength))) -}}
{{- else if and $fits (kindIs "slice" $value) -}}
{{- $fits = ge (len $value) (int (default 0 $schema.minItems)) -}}
{{- end -}}
{{- if hasKey $schema "enum" -}}
{{- $fits = and $fits (has $value $schema.enum) -}}
{{- end -}}
{{- if hasKey $schema "const" -}}
{{- $fits = and $fits (deepEqual $value $schema.const) -}}
{{- end -}}
{{- ternary "yes" "no" $fits -}}
{{- end -}}

{{/* The problems of a mapping's keys: missing ones, ones that are not there, and those of their values. */}}
{{- define "rackserve.schema.checkKeys" -}}
{{- $schema := .schema -}}
{{- $problems := list -}}
{{- $before := ternary "" (printf "%s." .path) (eq .path "") -}}
{{- $properties := default dict $schema.properties -}}
{{- range $key := default list $schema.required -}}
{{- if not (hasKey $.value $key) -}}
{{- $wanted := include "rackserve.schema.wanted" (dict "schema" (get $properties $key) "defs" $.defs) -}}
{{- $problems = append $problems (printf "%s%s: missing; must be %s" $before $key $wanted) -}}
{{- end -}}
{{- end -}}
{{- range $key, $item := .value -}}
{{- $inner := list -}}
{{- if hasKey $properties $key -}}
{{- $inner = append $inner (get $properties $key) -}}
{{- else -}}
{{- range $pattern, $each := default dict $schema.patternProperties -}}
{{- if regexMatch $pattern $key -}}
{{- $inner = append $inner $each -}}
{{- end -}}
{{- end -}}
{{- if and (not $inner) (kindIs "map" $schema.additionalProperties) -}}
{{- $inner = append $inner $schema.additionalProperties -}}
{{- else if and (not $inner) (kindIs "bool" $schema.additionalProperties) (not $schema.additionalProperties) -}}
{{- $keys := keys $properties | sortAlpha | join ", " -}}
{{- $problems = append $problems (printf "%s%s: %s; there is no such key; keys: %s" $before $key (toJson $item) $keys) -}}
{{- end -}}
{{- end -}}
{{- range $each := $inner -}}
{{- $at := dict "schema" $each "value" $item "path" (printf "%s%s" $before $key) "defs" $.defs -}}
{{- $problems = concat $problems (include "rackserve.schema.check" $at | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{/* What a schema wants, in words. */}}
{{- define "rackserve.schema.wanted" -}}
{{- $schema := include "rackserve.schema.resolved" . | fromJson -}}
{{- $options := concat (default list $schema.anyOf) (default list $schema.oneOf) -}}
{{- $said := list -}}
{{- if $options -}}
{{- $words := list -}}
{{- range $option := $options -}}
{{- $words = append $words (include "rackserve.schema.wanted" (dict "schema" $option "defs" $.defs)) -}}
{{- end -}}
{{- $said = list (uniq $words | join ", or ") -}}
{{- else if hasKey $schema "enum" -}}
{{- $said = list "one of" ($schema.enum | join ", ") -}}
{{- else if hasKey $schema "const" -}}
{{- $said = list $schema.const -}}
{{- else -}}
{{- $words := dict "object" "a mapping" "array" "a list" "string" "text" "boolean" "true or false" "null" "null" "integer" "a whole number" "number" "a number" -}}
{{- $said = list (default "anything" (get $words (default "" $schema.type))) -}}
{{- if and (hasKey $schema "minimum") (hasKey $schema "maximum") -}}
{{- $said = append $said (printf "from %s to %s" (toJson $schema.minimum) (toJson $schema.maximum)) -}}
{{- else if hasKey $schema "minimum" -}}
{{- $said = append $said (printf "of %s or more" (toJson $schema.minimum)) -}}
{{- end -}}
{{- if hasKey $schema "exclusiveMinimum" -}}
{{- $said = append $said (printf "above %s" (toJson $schema.exclusiveMinimum)) -}}
{{- end -}}
{{- if and (hasKey $schema "maximum") (not (hasKey $schema "minimum")) -}}
{{- $said = append $said (printf "up to %s" (toJson $schema.maximum)) -}}
{{- end -}}
{{- if hasKey $schema "pattern" -}}
{{- $said = append $said (printf "that matches %s" $schema.pattern) -}}
{{- end -}}
{{- if hasKey $schema "minLength" -}}
{{- $said = append $said (printf "of %s or more characters" (toJson $schema.minLength)) -}}
{{- end -}}
{{- if hasKey $schema "maxLength" -}}
{{- $said = append $said (printf "of at most %s characters" (toJson $schema.maxLength)) -}}
{{- end -}}
{{- if hasKey $schema "minItems" -}}
{{- $said = append $said (printf "of %s or more" (toJson $schema.minItems)) -}}
{{- end -}}
{{- end -}}
{{- join " " $said -}}
{{- end -}}
