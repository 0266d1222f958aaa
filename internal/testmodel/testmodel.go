// Package testmodel finds the real model that some tests need.
package testmodel

import (
	"os"
	"path/filepath"
	"testing"
)

// File is the model's file name in the store.
const File = "SmolLM2-135M-Instruct.Q4_1.gguf"

// Path is the SmolLM2-135M-Instruct GGUF: the file CRAYON_TEST_MODEL names,
// else the one in the models folder of CRAYON_HOME. Without either the test is
// skipped, except where CI=true: there a missing model is a failure.
func Path(t testing.TB) string {
	t.Helper()
	var tried []string
	if p := os.Getenv("CRAYON_TEST_MODEL"); p != "" {
		tried = append(tried, p)
	} else if home := os.Getenv("CRAYON_HOME"); home != "" {
		found, _ := filepath.Glob(filepath.Join(home, "models", "*", File))
		tried = append(append(tried, filepath.Join(home, "models", File)), found...)
	}
	for _, p := range tried {
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
			return p
		}
	}
	miss := t.Skipf
	if os.Getenv("CI") == "true" {
		miss = t.Fatalf
	}
	miss("needs %s: `crayon pull smollm2-135m`, then set CRAYON_TEST_MODEL to its path (looked at %q)", File, tried)
	return ""
}
