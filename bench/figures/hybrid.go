package main

import (
	"io"
	"strings"

	"crayon/internal/benchhybrid"
)

const hybridCommand = "crayon bench hybrid --data DIR --server URL --out FILE --raw FILE"

// hybridTable is what was to be reached of a report of `crayon bench hybrid`, and
// its routers.
func hybridTable(root, name string) (string, error) {
	return hybrid(root, name, (*benchhybrid.Report).WriteMarkdown)
}

// hybridBrief is what the route is worth in it, at a glance.
func hybridBrief(root, name string) (string, error) {
	return hybrid(root, name, (*benchhybrid.Report).WriteBrief)
}

// hybridSides is how often device and server are right in it.
func hybridSides(root, name string) (string, error) {
	return hybrid(root, name, (*benchhybrid.Report).WriteSides)
}

func hybrid(root, name string, write func(*benchhybrid.Report, io.Writer) error) (string, error) {
	r := &benchhybrid.Report{}
	here, err := result(root, name, r)
	if err != nil || !here {
		return missing(name, hybridCommand), err
	}
	var b strings.Builder
	if err := write(r, &b); err != nil {
		return "", err
	}
	b.WriteString("`bench/results/" + name + ".json`\n")
	return b.String(), nil
}
