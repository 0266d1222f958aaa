// Package config reads the settings: flags before CRAYON_* variables before
// crayon.yaml before defaults, with the place each value comes from.
package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"crayon/internal/fault"
	"crayon/internal/store"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// File is the name of a settings file.
const File = "crayon.yaml"

// Settings are the effective settings.
type Settings struct {
	Home        string   `koanf:"home"`
	Model       string   `koanf:"model"` // alias or absolute path
	Pool        string   `koanf:"pool"`  // "" is the pool in the program
	Threads     int      `koanf:"threads"`
	PrefixCache int      `koanf:"prefix_cache"` // MB
	Kernel      string   `koanf:"kernel"`
	Sources     []string `koanf:"sources"`
	Hub         string   `koanf:"hub"`
	Pip         string   `koanf:"pip"`
	LocalOnly   bool     `koanf:"local_only"`
	Server      Server   `koanf:"server"`
	Route       Route    `koanf:"route"`
	Serve       Serve    `koanf:"serve"`
	PoolServer  struct {
		Key string `koanf:"key"`
	} `koanf:"pool_server"`
	Ledger  Ledger  `koanf:"ledger"`
	Budget  Budget  `koanf:"budget"`
	Privacy Privacy `koanf:"privacy"`

	Paths    store.Paths `koanf:"-"` // the folders, after Home
	Warnings []string    `koanf:"-"` // things worth telling the user, without secrets
	values   []Value
}

// Server is the larger LLM: one server or several, the first choice first. After
// Load there is a key and a model, which may be "", for each address.
type Server struct {
	URLs     []string      `koanf:"url"`
	Keys     []string      `koanf:"key"` // from the key files, if those are set
	KeyFiles []string      `koanf:"key_file"`
	Models   []string      `koanf:"model"`
	Timeout  time.Duration `koanf:"timeout"`

	PricesIn  []float64 `koanf:"price_in"` // of a million tokens; NaN is not known
	PricesOut []float64 `koanf:"price_out"`
	Contexts  []float64 `koanf:"context"` // tokens; NaN is not known
}

// Route is the decision. A nil threshold is auto, -Inf is off.
type Route struct {
	OverBudget string    `koanf:"over_budget"` // device or refuse
	Mode       string    `koanf:"mode"`
	KeyModes   []KeyMode `koanf:"key_modes"`
	Scope      *float64  `koanf:"scope"`
	PoolScope  *float64  `koanf:"pool_scope"`
	Confidence *float64  `koanf:"confidence"`
	Shadow     float64   `koanf:"shadow"`
	Samples    int       `koanf:"samples"`
	Log        string    `koanf:"log"`
	Harvest    string    `koanf:"harvest"`
}

// KeyMode is the mode of the key of a name.
type KeyMode struct{ Name, Mode string }

// Serve is crayon serve.
type Serve struct {
	Addr    string `koanf:"addr"`
	Key     string `koanf:"key"`
	KeyFile string `koanf:"key_file"`

	Keys []ClientKey `koanf:"keys"`
}

// Options say where settings are read from.
type Options struct {
	Flags   map[string]string // by key ("server.url") or flag name ("server-url"), only those given
	Environ []string          // nil is the process's
	WorkDir string            // folder of the first crayon.yaml; "" is the working folder
	File    string            // a settings file in place of that crayon.yaml; it must exist
}

// layer ranks, weakest first.
const (
	rankDefault = iota
	rankConfigFile
	rankWorkFile
	rankEnv
	rankFlag
)

// value is a parsed setting with its origin.
type value struct {
	parsed any
	shown  string
	from   string
	rank   int
}

type layer map[string]value

// Load reads the settings. Every fault of a layer is told at once, with exit
// code 2.
func Load(o Options) (*Settings, error) {
	if o.Environ == nil {
		o.Environ = os.Environ()
	}
	if o.WorkDir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return nil, &fault.Error{Op: "read config", Err: err}
		}
		o.WorkDir = dir
	}
	flags, err1 := flagLayer(o.Flags)
	env, err2 := envLayer(o.Environ)
	workFile := filepath.Join(o.WorkDir, File)
	if o.File != "" {
		workFile = o.File
		if _, err := os.Stat(workFile); err != nil {
			return nil, &fault.Error{Op: "read config", Path: workFile, Err: errors.Unwrap(err), Hint: "check the path after --config", Exit: fault.ExitUsage}
		}
	}
	work, err3 := fileLayer(workFile, rankWorkFile)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	home := ""
	for _, l := range []layer{flags, env, work} {
		if v, ok := l["home"]; ok {
			home = v.parsed.(string)
			break
		}
	}
	paths, err := store.Resolve(home)
	if err != nil {
		return nil, err
	}
	user := layer{}
	if !sameFile(paths.ConfigFile(), workFile) {
		if user, err = fileLayer(paths.ConfigFile(), rankConfigFile); err != nil {
			return nil, err
		}
		if v, ok := user["home"]; ok {
			return nil, &fault.Error{Op: "read config", Path: v.from, Err: errors.New("home can't be set in the file it is to find"), Hint: "export CRAYON_HOME=...", Exit: fault.ExitUsage}
		}
	}
	defaults, err := defaultLayer()
	if err != nil {
		return nil, err
	}
	return merge(paths, defaults, user, work, env, flags)
}

func merge(paths store.Paths, layers ...layer) (*Settings, error) {
	k := koanf.New(".")
	effective := layer{}
	for _, l := range layers {
		flat := map[string]any{}
		for name, v := range l {
			flat[name] = v.parsed
			effective[name] = v
		}
		if err := k.Load(confmap.Provider(flat, "."), nil); err != nil {
			return nil, &fault.Error{Op: "read config", Err: err}
		}
	}
	s := &Settings{Paths: paths}
	if err := k.Unmarshal("", s); err != nil {
		return nil, &fault.Error{Op: "read config", Err: err}
	}
	if err := s.serverKeys(effective); err != nil {
		return nil, err
	}
	if err := s.serveKey(effective); err != nil {
		return nil, err
	}
	if err := s.Server.align(effective); err != nil {
		return nil, err
	}
	if err := s.Server.alignNumbers(effective); err != nil {
		return nil, err
	}
	if err := s.checkPrivacy(effective); err != nil {
		return nil, err
	}
	// A crayon.yaml that came with somebody's folder must not take a key of
	// the user's elsewhere unnoticed.
	url, key := effective["server.url"], effective["server.key"]
	if keyFile := effective["server.key_file"]; keyFile.rank > key.rank {
		key = keyFile
	}
	if url.rank == rankWorkFile && s.Server.hasKey() && key.rank != rankWorkFile {
		s.Warnings = append(s.Warnings, fmt.Sprintf("the key of %s goes to the server that %s names", key.from, url.from))
	}
	for _, key := range keys {
		v := effective[key.Name]
		s.values = append(s.values, Value{Key: key.Name, Value: v.shown, From: v.from, Env: key.Env(), Help: key.Help})
	}
	return s, nil
}

// put parses one value into a layer.
func (l layer) put(k Key, raw, from string, rank int, base string) error {
	parsed, err := k.parse(raw)
	if err != nil {
		return &fault.Error{Op: "read config", Path: from, Err: fmt.Errorf("%s: %w", k.Name, err), Hint: k.Name + ": " + k.Help, Exit: fault.ExitUsage}
	}
	switch p := parsed.(type) {
	case string:
		if p != "" && (k.path || k.Name == "model" && looksLikePath(p)) {
			if parsed, err = absolute(p, base); err == nil {
				raw = parsed.(string)
			}
		}
	case []string:
		for i := range p {
			if k.path && p[i] != "" && err == nil {
				p[i], err = absolute(p[i], base)
			}
		}
		if k.path {
			raw = strings.Join(p, ",")
		}
	}
	if err != nil {
		return &fault.Error{Op: "read config", Path: from, Err: err, Exit: fault.ExitUsage}
	}
	shown := raw
	if k.Secret && raw != "" {
		shown = "********"
	}
	l[k.Name] = value{parsed: parsed, shown: shown, from: from, rank: rank}
	return nil
}

func looksLikePath(model string) bool {
	return !strings.Contains(model, "://") && (strings.ContainsAny(model, `/\`) || strings.HasSuffix(strings.ToLower(model), ".gguf"))
}

// absolute makes a path absolute: relative to base, or with ~/ to the home
// folder.
func absolute(path, base string) (string, error) {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		return filepath.Join(home, rest), nil
	}
	if filepath.IsAbs(path) || base == "" {
		return filepath.Abs(path)
	}
	return filepath.Abs(filepath.Join(base, path))
}

func defaultLayer() (layer, error) {
	l := layer{}
	for _, k := range keys {
		if err := l.put(k, k.Default, "default", rankDefault, ""); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func flagLayer(flags map[string]string) (layer, error) {
	l := layer{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		i := slices.IndexFunc(keys, func(k Key) bool { return k.Name == name || k.Flag() == name })
		if i < 0 {
			var names []string
			for _, k := range keys {
				names = append(names, k.Flag())
			}
			errs = append(errs, unknown("--"+name, "flag", name, "--", store.Nearest(name, names)))
			continue
		}
		errs = append(errs, l.put(keys[i], flags[name], "flag --"+keys[i].Flag(), rankFlag, ""))
	}
	return l, errors.Join(errs...)
}

// otherVariable says whether tests, the benchmark or package cuda read the variable.
func otherVariable(name string) bool {
	return strings.HasPrefix(name, "CRAYON_TEST_") || strings.HasPrefix(name, "CRAYON_CUDA_") ||
		name == "CRAYON_DATA" || name == "CRAYON_LLAMACPP" || name == "CRAYON_NVRTC"
}

func envLayer(environ []string) (layer, error) {
	l := layer{}
	var errs []error
	byEnv := map[string]Key{}
	var names []string
	for _, k := range keys {
		byEnv[k.Env()] = k
		names = append(names, k.Env())
	}
	for _, kv := range slices.Sorted(slices.Values(environ)) {
		name, raw, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "CRAYON_") || otherVariable(name) || raw == "" {
			continue
		}
		k, ok := byEnv[name]
		if !ok {
			errs = append(errs, unknown("env "+name, "variable", name, "", store.Nearest(name, names)))
			continue
		}
		errs = append(errs, l.put(k, raw, "env "+name, rankEnv, ""))
	}
	return l, errors.Join(errs...)
}

func unknown(place, what, name, prefix, near string) error {
	hint := "crayon config print lists every setting"
	if near != "" {
		hint = "did you mean " + prefix + near + "?"
	}
	return &fault.Error{Op: "read config", Path: place, Err: fmt.Errorf("unknown %s %q", what, name), Hint: hint, Exit: fault.ExitUsage}
}

func sameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}
