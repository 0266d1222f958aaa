package config

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crayon/internal/fault"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// place makes a working and a home folder with the given files.
func place(t *testing.T, work, user string) (workDir, home string) {
	t.Helper()
	workDir, home = t.TempDir(), t.TempDir()
	if work != "" {
		require.NoError(t, os.WriteFile(filepath.Join(workDir, File), []byte(work), 0o600))
	}
	if user != "" {
		require.NoError(t, os.WriteFile(filepath.Join(home, File), []byte(user), 0o600))
	}
	return workDir, home
}

func from(s *Settings, key string) string {
	for _, v := range s.Values() {
		if v.Key == key {
			return v.From
		}
	}
	return ""
}

func TestDefaults(t *testing.T) {
	work, home := place(t, "", "")
	s, err := Load(Options{WorkDir: work, Environ: []string{"CRAYON_HOME=" + home, "PATH=/bin", "CRAYON_TEST_MODEL=x", "CRAYON_DATA=y", "CRAYON_LLAMACPP=z", "CRAYON_POOL="}})
	require.NoError(t, err)
	require.Equal(t, "smollm2-135m", s.Model)
	require.Equal(t, []string{"hf", "pypi"}, s.Sources)
	require.Equal(t, 60*time.Second, s.Server.Timeout)
	require.Equal(t, "auto", s.Route.Mode)
	require.Nil(t, s.Route.Scope)
	require.Equal(t, "127.0.0.1:8321", s.Serve.Addr)
	require.Equal(t, home, s.Paths.Data)
	require.Equal(t, "env CRAYON_HOME", from(s, "home"))
	require.Equal(t, "default", from(s, "pool"))
	require.Empty(t, s.Warnings)
	require.Len(t, s.Values(), len(keys))
}

func TestOrderAndOrigins(t *testing.T) {
	work, home := place(t,
		"server:\n  url: http://work:1/v1\n  timeout: 5s\nroute.scope: 0.25\nsources: [pypi, hf]\nmodel: ./m/a.gguf\n",
		"# mine\nthreads: 2\nserver:\n  url: http://user:1/v1\n  model: big\nroute:\n  confidence: off\n  scope: 0.9\n")
	s, err := Load(Options{WorkDir: work,
		Environ: []string{"CRAYON_HOME=" + home, "CRAYON_SERVER_TIMEOUT=7", "CRAYON_THREADS=3", "CRAYON_LOCAL_ONLY=1"},
		Flags:   map[string]string{"threads": "4", "route-scope": "auto", "server.model": "bigger"}})
	require.NoError(t, err)
	require.Equal(t, "http://work:1/v1", s.Server.URLs[0])
	require.Equal(t, filepath.Join(work, File)+":2", from(s, "server.url"))
	require.Equal(t, 7*time.Second, s.Server.Timeout)
	require.Equal(t, "env CRAYON_SERVER_TIMEOUT", from(s, "server.timeout"))
	require.Equal(t, 4, s.Threads)
	require.Equal(t, "flag --threads", from(s, "threads"))
	require.Nil(t, s.Route.Scope, "auto by flag beats numbers in files")
	require.Equal(t, math.Inf(-1), *s.Route.Confidence)
	require.Equal(t, filepath.Join(home, File)+":7", from(s, "route.confidence"))
	require.Equal(t, "bigger", s.Server.Models[0])
	require.Equal(t, []string{"pypi", "hf"}, s.Sources)
	require.Equal(t, filepath.Join(work, "m", "a.gguf"), s.Model, "a path is relative to its file")
	require.True(t, s.LocalOnly)
}

func TestFaultsNamePlaceAndNearest(t *testing.T) {
	for _, c := range []struct{ name, work, user, env, flag, place, text, hint string }{
		{name: "unknown key", work: "threads: 2\nserver:\n  urll: http://x\n", place: File + ":3", text: `unknown key "server.urll"`, hint: "server.url"},
		{name: "section left out", work: "\nconfidence: 0.3\n", place: File + ":2", hint: "route.confidence"},
		{name: "unknown section", work: "sever:\n  url: x\n", place: File + ":1", text: `"sever"`},
		{name: "unknown variable", env: "CRAYON_SEVER_URL=http://x", place: "env CRAYON_SEVER_URL", hint: "CRAYON_SERVER_URL"},
		{name: "unknown flag", flag: "treads", place: "--treads", hint: "--threads"},
		{name: "bad number", work: "threads: many\n", place: File + ":1", text: "whole number"},
		{name: "bad mode", env: "CRAYON_ROUTE_MODE=sometimes", text: "prefer-device"},
		{name: "bad threshold", env: "CRAYON_ROUTE_CONFIDENCE=1.5", text: "0 to 1"},
		{name: "not a number", env: "CRAYON_ROUTE_SCOPE=NaN", text: "auto"},
		{name: "bad source", env: "CRAYON_SOURCES=hf,ftp", text: `"ftp"`},
		{name: "source twice", env: "CRAYON_SOURCES=hf,hf", text: "twice"},
		{name: "bad duration", work: "server:\n  timeout: soon\n", place: File + ":2", text: "duration"},
		{name: "bad address", env: "CRAYON_SERVER_URL=host:80", text: "address"},
		{name: "bad listen", env: "CRAYON_SERVE_ADDR=8080", text: "HOST:PORT"},
		{name: "value for section", work: "server: http://x\n", place: File + ":1", text: "section"},
		{name: "map for value", work: "threads:\n  a: 1\n", place: File + ":2", text: "one value"},
		{name: "list for value", work: "model: [a, b]\n", text: "one value"},
		{name: "no value", work: "model:\n", place: File + ":1", text: "no value"},
		{name: "twice", work: "threads: 1\nmodel: a\nthreads: 2\n", place: File + ":3", text: "line 1"},
		{name: "twice in two ways", work: "server.model: a\nserver:\n  model: b\n", place: File + ":3", text: "twice"},
		{name: "not a map", work: "- a\n- b\n", place: File + ":1", text: "key: value"},
		{name: "broken", work: "threads: 1\n\tmodel: [\n", place: File, text: "line 2"},
		{name: "two documents", work: "threads: 1\n---\nthreads: 2\n", text: "document"},
		{name: "alias", work: "model: &a x\npool: *a\n", place: File + ":2", text: "one value"},
		{name: "home in its own file", user: "home: /x\n", place: File + ":1", text: "home"},
		{name: "user file", user: "\n\nthread: 3\n", place: File + ":3", hint: "threads"},
	} {
		t.Run(c.name, func(t *testing.T) {
			work, home := place(t, c.work, c.user)
			env := []string{"CRAYON_HOME=" + home}
			if c.env != "" {
				env = append(env, c.env)
			}
			flags := map[string]string{}
			if c.flag != "" {
				flags[c.flag] = "1"
			}
			_, err := Load(Options{WorkDir: work, Environ: env, Flags: flags})
			require.Error(t, err)
			require.Equal(t, fault.ExitUsage, fault.Code(err))
			require.Contains(t, err.Error(), c.place)
			require.Contains(t, err.Error(), c.text)
			require.Contains(t, fault.Hint(err), c.hint)
		})
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	work, home := place(t, "a: 1\nthreads: x\n", "")
	_, err := Load(Options{WorkDir: work, Environ: []string{"CRAYON_HOME=" + home, "CRAYON_FOO=1"}})
	for _, want := range []string{`"a"`, ":2: threads", "CRAYON_FOO"} {
		require.Contains(t, err.Error(), want)
	}
}

const secret = "sk-very-secret-5c1e"

func TestSecretsAreNeverShown(t *testing.T) {
	work, home := place(t, "", "")
	file := filepath.Join(home, "key")
	require.NoError(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	for name, env := range map[string][]string{
		"direct": {"CRAYON_SERVER_KEY=" + secret, "CRAYON_SERVE_KEY=" + secret},
		"file":   {"CRAYON_SERVER_KEY_FILE=" + file, "CRAYON_SERVE_KEY_FILE=" + file},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Load(Options{WorkDir: work, Environ: append(env, "CRAYON_HOME="+home)})
			require.NoError(t, err)
			require.Equal(t, []string{secret}, s.Server.Keys)
			require.Equal(t, secret, s.Serve.Key)
			var b bytes.Buffer
			require.NoError(t, s.Print(&b))
			require.NotContains(t, b.String(), secret)
			for _, v := range s.Values() {
				require.NotContains(t, v.Value, secret)
			}
		})
	}
	for _, env := range []string{
		"CRAYON_SERVER_URL=http://u:" + secret + "@h/v1",
		"CRAYON_SERVER_URL=http://h/v1?key=" + secret,
		"CRAYON_SERVER_URL=http://h/%zz" + secret,
		"CRAYON_SERVER_URL=http://h/v1,http://u:" + secret + "@i/v1",
	} {
		_, err := Load(Options{WorkDir: work, Environ: []string{"CRAYON_HOME=" + home, env}})
		require.Error(t, err)
		require.NotContains(t, err.Error()+fault.Hint(err), secret)
	}
}

func TestKeyFile(t *testing.T) {
	work, home := place(t, "server:\n  url: http://h/v1\n  key_file: key\n", "")
	load := func(env ...string) (*Settings, error) {
		return Load(Options{WorkDir: work, Environ: append(env, "CRAYON_HOME="+home)})
	}
	_, err := load()
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Contains(t, fault.Hint(err), File+":3")
	for _, bad := range []string{"", " \n", "a\nb\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(work, "key"), []byte(bad), 0o600))
		_, err = load()
		require.Error(t, err, "%q", bad)
	}
	require.NoError(t, os.WriteFile(filepath.Join(work, "key"), []byte("abc\n"), 0o600))
	s, err := load()
	require.NoError(t, err)
	require.Equal(t, []string{"abc"}, s.Server.Keys)
	require.Empty(t, s.Warnings)
	s, err = load("CRAYON_SERVER_KEY=def")
	require.NoError(t, err)
	require.Equal(t, []string{"def"}, s.Server.Keys, "the stronger layer wins")
	require.Len(t, s.Warnings, 1, "a key from elsewhere for a server of the working folder")
	require.NotContains(t, s.Warnings[0], "def")
	_, err = load("CRAYON_SERVER_KEY=def", "CRAYON_SERVER_KEY_FILE="+filepath.Join(work, "key"))
	require.ErrorContains(t, err, "both")
	require.NoError(t, os.Chmod(filepath.Join(work, "key"), 0o644))
	s, err = load()
	require.NoError(t, err)
	require.Len(t, s.Warnings, 1)
	require.Contains(t, s.Warnings[0], "chmod 600")
}

func TestEgressSettings(t *testing.T) {
	work, home := place(t, `server:
  url: [http://a, http://b, http://c]
  price_in: [0.15, '', 0]
  price_out: 0.6
  context: [8192]
budget:
  calls: 0
  money: 1.5
  key: {tokens: 1000}
  keys: [guest calls=0, "boss money=9 share=1 tokens=off"]
privacy:
  detect: [card, ip]
  on_match: redact
  words: [Project Lighthouse, Müller]
  patterns: ['K-\d{3,5}', 'x,y']
  customisations: [diary]
route.over_budget: refuse
`, "")
	load := func(env ...string) (*Settings, error) {
		return Load(Options{WorkDir: work, Environ: append(env, "CRAYON_HOME="+home)})
	}
	s, err := load("CRAYON_LEDGER_BODIES=1")
	require.NoError(t, err)
	require.Equal(t, 0.15, s.Server.PricesIn[0])
	require.True(t, math.IsNaN(s.Server.PricesIn[1]))
	require.Equal(t, 0.0, s.Server.PricesIn[2])
	require.Len(t, s.Server.PricesOut, 3)
	require.Equal(t, 8192.0, s.Server.Contexts[0])
	require.Equal(t, int64(0), *s.Budget.Calls)
	require.Nil(t, s.Budget.Tokens)
	require.Equal(t, 1.5, *s.Budget.Money)
	require.Equal(t, int64(1000), *s.Budget.Key.Tokens)
	require.Nil(t, s.Budget.Key.Calls)
	require.Equal(t, "guest", s.Budget.Keys[0].Name)
	require.Equal(t, int64(0), *s.Budget.Keys[0].Calls)
	require.Equal(t, 9.0, *s.Budget.Keys[1].Money)
	require.Nil(t, s.Budget.Keys[1].Tokens)
	require.Equal(t, Privacy{Detect: []string{"card", "ip"}, OnMatch: "redact", Words: []string{"Project Lighthouse", "Müller"}, Patterns: []string{`K-\d{3,5}`, "x,y"}, Customisations: []string{"diary"}}, s.Privacy)
	require.True(t, s.Ledger.Bodies)
	require.Equal(t, "refuse", s.Route.OverBudget)
	for _, bad := range []string{"SERVER_PRICE_IN=1,2,3,4", "SERVER_PRICE_IN=-1", "SERVER_CONTEXT=x", "BUDGET_CALLS=-1", "BUDGET_CALLS=1.5", "BUDGET_SHARE=30", "BUDGET_MONEY=NaN", "BUDGET_KEYS=guest",
		"BUDGET_KEYS=a calls=1,a calls=2", "BUDGET_KEYS=a dollars=1", "BUDGET_ZONE=mars", "PRIVACY_DETECT=names", "PRIVACY_ON_MATCH=send", "SERVE_KEYS=alice", "SERVE_KEYS=a b=k", "SERVE_KEYS=serve=k", "SERVE_KEYS=a=k,a=l", "PRIVACY_PATTERNS=(", "PRIVACY_PATTERNS=a*"} {
		_, err := load("CRAYON_" + bad)
		require.Equal(t, fault.ExitUsage, fault.Code(err), bad)
		require.ErrorContains(t, err, "CRAYON_"+strings.SplitN(bad, "=", 2)[0], bad)
	}
	s, err = Load(Options{WorkDir: t.TempDir(), Environ: []string{"CRAYON_HOME=" + t.TempDir()}})
	require.NoError(t, err)
	require.Nil(t, s.Budget.Calls)
	require.Equal(t, []string{"card", "iban", "secret", "mail", "phone", "id"}, s.Privacy.Detect)
	require.False(t, s.Privacy.Redact())
}

func TestSameFileIsReadOnce(t *testing.T) {
	_, home := place(t, "", "threads: 2\n")
	s, err := Load(Options{WorkDir: home, Environ: []string{"CRAYON_HOME=" + home}})
	require.NoError(t, err)
	require.Equal(t, 2, s.Threads)
}

func TestHomeInTheWorkingFolder(t *testing.T) {
	work, home := place(t, "", "threads: 2\n")
	require.NoError(t, os.WriteFile(filepath.Join(work, File), []byte("home: "+home+"\n"), 0o600))
	s, err := Load(Options{WorkDir: work, Environ: []string{"XDG_DATA_HOME=/nowhere"}})
	require.NoError(t, err)
	require.Equal(t, home, s.Paths.Data)
	require.Equal(t, 2, s.Threads)
}

func TestPrintNamesEveryKey(t *testing.T) {
	work, home := place(t, "threads: 2\n", "")
	s, err := Load(Options{WorkDir: work, Environ: []string{"CRAYON_HOME=" + home}})
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, s.Print(&b))
	for _, k := range Keys() {
		require.Contains(t, b.String(), k.Name)
	}
	require.Regexp(t, `threads +2 +.*crayon.yaml:1`, b.String())
}

// Each setting given as a flag, a variable or in a file has the same value.
func TestWaysAgree(t *testing.T) {
	samples := map[string][]string{"threads": {"0", "7"}, "prefix_cache": {"0", "256"}, "sources": {"pypi", "https,hf"}, "local_only": {"true", "no"}, "server.timeout": {"3s", "1m"},
		"route.mode": {"server", "shadow"}, "route.shadow": {"0.5", "1"}, "route.samples": {"3"}, "route.key_modes": {"serve=device-only", "local=server,serve=shadow"}, "route.log": {"text", "off"}, "route.harvest": {"ask"}, "route.scope": {"0.5", "off", "auto"}, "route.pool_scope": {"-1"}, "route.confidence": {"0.125"}, "kernel": {"avx2"},
		"server.url": {"https://h/v1", "https://a/v1,http://b:1"}, "server.key": {"k", ",k"}, "server.model": {"m", "m,"}, "hub": {"http://h"}, "serve.addr": {":80"}, "home": {""}, "server.key_file": {""}, "serve.key_file": {""},
		"serve.keys": {"a=k,b=l"}, "server.price_in": {"0.15", "1,2"}, "server.price_out": {"3"}, "server.context": {"8192"}, "ledger.bodies": {"true"},
		"budget.calls": {"0", "off", "9"}, "budget.tokens": {"5"}, "budget.money": {"0.5"}, "budget.share": {"0.3"}, "budget.zone": {"local"},
		"budget.key.calls": {"1"}, "budget.key.tokens": {"1"}, "budget.key.money": {"off"}, "budget.key.share": {"1"}, "budget.keys": {"a calls=1,b money=2 share=0.5"},
		"privacy.detect": {"off", "card,mail"}, "privacy.on_match": {"redact"}, "privacy.patterns": {`a{2,3}`}, "route.over_budget": {"refuse"}}
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom(keys).Draw(t, "key")
		values := samples[k.Name]
		if values == nil {
			values = []string{"/x/y", "/z.gguf"}
		}
		v := rapid.SampledFrom(values).Draw(t, "value")
		env, err := envLayer([]string{k.Env() + "=" + v})
		require.NoError(t, err)
		if v == "" {
			require.Empty(t, env)
			return
		}
		flag, err := flagLayer(map[string]string{k.Flag(): v})
		require.NoError(t, err)
		file, err := parseFile("/w/crayon.yaml", []byte(k.Name+": "+yamlQuote(v)+"\n"), rankWorkFile)
		require.NoError(t, err)
		require.Equal(t, env[k.Name].parsed, flag[k.Name].parsed)
		require.Equal(t, env[k.Name].parsed, file[k.Name].parsed)
	})
}

func yamlQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func FuzzFile(f *testing.F) {
	f.Add([]byte("threads: 2\nserver:\n  url: http://x\n"))
	f.Add([]byte("sources: [hf]\nroute: {scope: auto}\n"))
	f.Add([]byte("a: &a [*a]\n? {x: y} : z\n"))
	f.Add([]byte("--- !!binary x\n"))
	f.Add([]byte("# nothing"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := parseFile("/w/crayon.yaml", data, rankWorkFile)
		if err != nil {
			require.Equal(t, fault.ExitUsage, fault.Code(err))
			return
		}
		for name := range l {
			_, ok := keyNamed(name)
			require.True(t, ok, name)
		}
	})
}
