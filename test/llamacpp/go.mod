module crayon/test/llamacpp

go 1.26.0

require (
	crayon v0.0.0
	github.com/ebitengine/purego v0.11.3
)

require (
	github.com/agnivade/levenshtein v1.2.2 // indirect
	github.com/gofrs/flock v0.13.1 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

require (
	github.com/stretchr/testify v1.12.1
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)

replace crayon => ../..
