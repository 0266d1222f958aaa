package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
)

// TestServers: keys and models go with the address in their own place, and no
// key reaches an address it was not put beside.
func TestServers(t *testing.T) {
	const two, three = "CRAYON_SERVER_URL=http://a/v1, http://b/v1", "CRAYON_SERVER_URL=http://a/v1,http://b/v1,http://c/v1"
	for _, c := range []struct {
		name         string
		work         string
		env          []string
		keys, models []string
		fails, hint  string
	}{
		{name: "none", keys: nil},
		{name: "a key without an address", env: []string{"CRAYON_SERVER_KEY=k"}, keys: []string{"k"}},
		{name: "one key for two", env: []string{two, "CRAYON_SERVER_KEY=ka"}, keys: []string{"ka", ""}, models: []string{"", ""}},
		{name: "only the second has one", env: []string{two, "CRAYON_SERVER_KEY=,kb"}, keys: []string{"", "kb"}, models: []string{"", ""}},
		{name: "one model for three", env: []string{three, "CRAYON_SERVER_MODEL=m"}, keys: []string{"", "", ""}, models: []string{"m", "m", "m"}},
		{name: "one model for the first", env: []string{three, "CRAYON_SERVER_MODEL=m,"}, keys: []string{"", "", ""}, models: []string{"m", "", ""}},
		{name: "yaml", work: "server:\n  url: [http://a/v1, http://b/v1]\n  key: [~, kb]\n  model:\n  - ma\n  - mb\n", keys: []string{"", "kb"}, models: []string{"ma", "mb"}},
		{name: "key files", work: "server:\n  url: [http://a/v1, http://b/v1]\n  key_file: ['', key]\n", keys: []string{"", "kf"}, models: []string{"", ""}},
		{name: "more keys than addresses", env: []string{two, "CRAYON_SERVER_KEY=" + secret + ",kb,kc"}, fails: "3 keys for 2 addresses", hint: "server.key"},
		{name: "a key with a comma is two", env: []string{"CRAYON_SERVER_URL=http://a/v1", "CRAYON_SERVER_KEY=" + secret + ",b"}, fails: "2 keys for 1 "},
		{name: "more models than addresses", env: []string{"CRAYON_SERVER_URL=http://a/v1", "CRAYON_SERVER_MODEL=m,n"}, fails: "2 models"},
		{name: "an empty address", env: []string{"CRAYON_SERVER_URL=http://a/v1,,http://b/v1"}, fails: "address 2 of 3 is empty"},
		{name: "a bad second address", env: []string{"CRAYON_SERVER_URL=http://a/v1,b:80"}, fails: "want an address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			work, home := place(t, c.work, "")
			require.NoError(t, os.WriteFile(filepath.Join(work, "key"), []byte("kf\n"), 0o600))
			s, err := Load(Options{WorkDir: work, Environ: append(c.env, "CRAYON_HOME="+home)})
			if c.fails != "" {
				require.ErrorContains(t, err, c.fails)
				require.Equal(t, fault.ExitUsage, fault.Code(err))
				require.Contains(t, fault.Hint(err), c.hint)
				require.NotContains(t, err.Error()+fault.Hint(err), secret)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.keys, s.Server.Keys)
			require.Equal(t, c.models, s.Server.Models)
		})
	}
}
