// Package testmodel finds the real model that some tests need. It imports
// nothing of this project, so that any package's tests can use it.
package testmodel

import (
	"os"
	"path/filepath"
	"testing"
)

// Alias is the model's alias: SmolLM2-135M-Instruct, Q4_1.
const Alias = "smollm2-135m"

// Path is the model's GGUF file: the one CRAYON_TEST_MODEL names, else the one
// that `crayon pull` keeps in CRAYON_HOME or, on Linux, in the user's data
// folder. Without any the test is skipped, except where CI=true: there a missing
// model is a failure.
func Path(t testing.TB) string {
	t.Helper()
	path := os.Getenv("CRAYON_TEST_MODEL")
	if path == "" {
		path = filepath.Join(home(), "models", Alias+".gguf")
	}
	if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
		return path
	}
	miss := t.Skipf
	if os.Getenv("CI") == "true" {
		miss = t.Fatalf
	}
	miss("needs the model: crayon pull %s, or CRAYON_TEST_MODEL (looked at %s)", Alias, path)
	return ""
}

func home() string {
	if dir := os.Getenv("CRAYON_HOME"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "crayon")
	}
	dir, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, ".local", "share", "crayon")
}
