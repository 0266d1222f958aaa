package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSummary(t *testing.T) {
	cases := []struct {
		name, in string
		good     bool
		says     []string
	}{
		{"all pass", `{"Action":"output","Package":"a","Test":"TestX","Output":"=== RUN\n"}
{"Action":"pass","Package":"a","Test":"TestX"}
{"Action":"pass","Package":"a","Elapsed":0.5}
{"Action":"skip","Package":"b"}`, true, []string{"pass a  0.5 s", "1 packages, 0 of them failed", "tests: 1 passed, 0 failed, 0 skipped"}},
		{"a skip has its reason", `{"Action":"output","Package":"a","Test":"TestX","Output":"    x_test.go:3: needs a model\n"}
{"Action":"skip","Package":"a","Test":"TestX"}
{"Action":"pass","Package":"a"}`, true, []string{"skipped: a TestX: needs a model"}},
		{"a failure is shown whole", `{"Action":"output","Package":"a","Test":"TestX","Output":"want 1, got 2\n"}
{"Action":"fail","Package":"a","Test":"TestX"}
{"Action":"fail","Package":"a"}`, false, []string{"want 1, got 2", "FAILED: a TestX"}},
		{"a build failure", `{"ImportPath":"a","Action":"build-output","Output":"a.go:1: no\n"}
{"ImportPath":"a","Action":"build-fail"}
{"Action":"fail","Package":"a"}`, false, []string{"a.go:1: no", "DOES NOT BUILD: a"}},
		{"nothing ran", ``, false, []string{"0 packages"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			sum, err := read(strings.NewReader(c.in), &out)
			require.NoError(t, err)
			require.Equal(t, c.good, sum.print(&out))
			for _, s := range c.says {
				require.Contains(t, out.String(), s)
			}
		})
	}
}
