package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/privacy"
)

// Limits are what may be spent in a day; nil is no limit.
type Limits struct {
	Calls  *int64   `koanf:"calls"`
	Tokens *int64   `koanf:"tokens"`
	Money  *float64 `koanf:"money"` // in the currency of the prices
	Share  *float64 `koanf:"share"` // of all queries, 0 to 1
}

// Budget is what may leave in a day.
type Budget struct {
	Limits `koanf:",squash"` // of all keys together
	Key    Limits            `koanf:"key"` // of every key by itself
	Keys   []KeyLimits       `koanf:"keys"`
	Zone   string            `koanf:"zone"` // utc or local
}

// KeyLimits are those of the key of a name.
type KeyLimits struct {
	Name string
	Limits
}

// Privacy is what must not leave.
type Privacy struct {
	Detect         []string `koanf:"detect"`
	OnMatch        string   `koanf:"on_match"` // stay or redact
	Words          []string `koanf:"words"`
	Patterns       []string `koanf:"patterns"`
	Allow          []string `koanf:"allow"`
	Customisations []string `koanf:"customisations"`
}

// Redact says whether findings are redacted rather than stay.
func (p Privacy) Redact() bool { return p.OnMatch == onMatchRedact }

// ClientKey is a key of crayon serve with the name of its client.
type ClientKey struct{ Name, Key string }

// clientKeys reads "NAME=KEY", and never repeats a key in an error.
func clientKeys(s string) (any, error) {
	parsed, _ := words(s)
	var out []ClientKey
	for i, part := range parsed.([]string) {
		name, key, ok := strings.Cut(part, "=")
		name, key = strings.TrimSpace(name), strings.TrimSpace(key)
		switch {
		case !ok || key == "" || !clientName.MatchString(name):
			return nil, fmt.Errorf("part %d: want NAME=KEY, the name of letters, digits, '-' and '_'", i+1)
		case name == "serve" || name == "local":
			return nil, fmt.Errorf("part %d: %q is the name of those without a key of their own", i+1, name)
		case slices.ContainsFunc(out, func(o ClientKey) bool { return o.Name == name }):
			return nil, fmt.Errorf("%q is named twice", name)
		}
		out = append(out, ClientKey{name, key})
	}
	return out, nil
}

var clientName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Ledger is the list of what left.
type Ledger struct {
	Bodies bool `koanf:"bodies"`
}

const (
	onMatchStay   = "stay"
	onMatchRedact = "redact"
)

// whole is nil for off.
func whole(s string) (any, error) {
	if s == "off" || s == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<53 {
		return nil, fmt.Errorf("%q: want a whole number, 0 for nothing, or off for no limit", s)
	}
	return n, nil
}

func amount(most float64) func(string) (any, error) {
	return func(s string) (any, error) {
		if s == "off" || s == "" {
			return nil, nil
		}
		x, err := strconv.ParseFloat(s, 64)
		if err != nil || !(x >= 0 && x <= most) {
			return nil, fmt.Errorf("%q: want a number from 0 to %g, or off for no limit", s, most)
		}
		return x, nil
	}
}

// most of a price or a day's money.
const mostMoney = 1e6

// perServer are numbers, one a server; NaN where one is not known.
func perServer(s string) (any, error) {
	parsed, _ := words(s)
	var out []float64
	for _, part := range parsed.([]string) {
		x := math.NaN()
		if part != "" {
			var err error
			if x, err = strconv.ParseFloat(part, 64); err != nil || !(x >= 0 && x <= 1e9) {
				return nil, fmt.Errorf("%q: want a number, 0 or more", part)
			}
		}
		out = append(out, x)
	}
	return out, nil
}

// keyLimits reads "NAME calls=100 tokens=50000 money=0.5 share=0.3".
func keyLimits(s string) (any, error) {
	parsed, _ := words(s)
	var out []KeyLimits
	for _, part := range parsed.([]string) {
		fields := strings.Fields(part)
		if len(fields) < 2 {
			return nil, fmt.Errorf("%q: want NAME calls=N tokens=N money=X share=X", part)
		}
		k := KeyLimits{Name: fields[0]}
		if slices.ContainsFunc(out, func(o KeyLimits) bool { return o.Name == k.Name }) {
			return nil, fmt.Errorf("%q is named twice", k.Name)
		}
		for _, f := range fields[1:] {
			name, value, _ := strings.Cut(f, "=")
			var v any
			var err error
			switch name {
			case "calls", "tokens":
				v, err = whole(value)
			case "money":
				v, err = amount(mostMoney)(value)
			case "share":
				v, err = amount(1)(value)
			default:
				err = fmt.Errorf("%q: want calls, tokens, money or share", name)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.Name, err)
			}
			switch x := v.(type) {
			case int64:
				if name == "calls" {
					k.Calls = &x
				} else {
					k.Tokens = &x
				}
			case float64:
				if name == "money" {
					k.Money = &x
				} else {
					k.Share = &x
				}
			}
		}
		out = append(out, k)
	}
	return out, nil
}

func kinds(s string) (any, error) {
	if s == "off" {
		return []string{}, nil
	}
	parsed, _ := words(s)
	for _, k := range parsed.([]string) {
		if !slices.Contains(privacy.Kinds(), k) {
			return nil, fmt.Errorf("%q: want any of %s, or off", k, strings.Join(privacy.Kinds(), ", "))
		}
	}
	return parsed, nil
}

// lines are parts separated by line ends: patterns hold commas.
func lines(s string) (any, error) {
	var out []string
	for line := range strings.SplitSeq(s, "\n") {
		if line != "" {
			out = append(out, line)
		}
	}
	return out, nil
}

// checkPrivacy compiles the user's own patterns, so that a wrong one is told by
// its place.
func (s *Settings) checkPrivacy(effective layer) error {
	_, err := privacy.New(privacy.Options{Kinds: []string{}, Words: s.Privacy.Words, Patterns: s.Privacy.Patterns})
	if err == nil {
		return nil
	}
	name := "privacy.words"
	if strings.Contains(err.Error(), "privacy.patterns") {
		name = "privacy.patterns"
	}
	return &fault.Error{Op: "read config", Path: effective[name].from, Err: err, Exit: fault.ExitUsage}
}

// alignNumbers makes prices and context lengths as many as the addresses.
func (s *Server) alignNumbers(effective layer) error {
	for _, list := range []struct {
		name   string
		values *[]float64
	}{{"server.price_in", &s.PricesIn}, {"server.price_out", &s.PricesOut}, {"server.context", &s.Contexts}} {
		have, n := len(*list.values), len(s.URLs)
		if n > 0 && have > n {
			return &fault.Error{Op: "read config", Path: effective[list.name].from, Err: fmt.Errorf("%d values for %d addresses in server.url (%s)", have, n, effective["server.url"].from),
				Hint: "as many in " + list.name + " as in server.url, in the same order; an empty one is not known", Exit: fault.ExitUsage}
		}
		for len(*list.values) < n {
			*list.values = append(*list.values, math.NaN())
		}
	}
	return nil
}
