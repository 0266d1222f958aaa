package route

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
)

// The names of the headers a decision is told in.
const (
	HeaderRoute      = "x-crayon-route"
	HeaderReason     = "x-crayon-reason"
	HeaderScope      = "x-crayon-scope"
	HeaderConfidence = "x-crayon-confidence"
	HeaderThreshold  = "x-crayon-threshold"
	HeaderDegraded   = "x-crayon-degraded"
)

// Header is the decision as response headers. Signals that were not measured
// and thresholds that are off are left out; x-crayon-degraded is there only
// when true. The threshold header has the form "scope=0.4120 confidence=0.3000".
func (d Decision) Header() http.Header {
	h := http.Header{}
	h.Set(HeaderRoute, string(d.Route))
	h.Set(HeaderReason, string(d.Reason))
	put := func(name string, x float32) {
		if finite(x) {
			h.Set(name, decimal(x))
		}
	}
	put(HeaderScope, d.Signals.ScopeUser)
	put(HeaderConfidence, d.Signals.Confidence)
	var parts []string
	for _, r := range d.rows() {
		if finite(r.threshold) {
			parts = append(parts, r.name+"="+decimal(r.threshold))
		}
	}
	if len(parts) > 0 {
		h.Set(HeaderThreshold, strings.Join(parts, " "))
	}
	if d.Degraded {
		h.Set(HeaderDegraded, "true")
	}
	return h
}

// ParseForce reads the request header x-crayon-route: "" and "auto" leave the
// choice open, "device" and "server" force a side, all else is an error.
func ParseForce(s string) (Side, error) {
	switch s {
	case "", string(Auto):
		return "", nil
	case string(Device), string(Server):
		return Side(s), nil
	}
	return "", fmt.Errorf("%s %q: want device, server or auto", HeaderRoute, s)
}

type row struct {
	name, what       string
	value, threshold float32
}

func (d Decision) rows() []row {
	return []row{
		{"scope", "similarity to your examples", d.Signals.ScopeUser, d.Thresholds.ScopeUser},
		{"pool-scope", "similarity to the pool's nearest indicator", d.Signals.ScopePool, d.Thresholds.ScopePool},
		{"confidence", "mean probability of the drafted tokens", d.Signals.Confidence, d.Thresholds.Confidence},
	}
}

// Short is the decision in a line: "device (in-scope; scope 0.710 >= 0.550)".
func (d Decision) Short() string {
	var parts []string
	for _, r := range d.rows() {
		if !finite(r.value) {
			continue
		}
		if !finite(r.threshold) {
			parts = append(parts, fmt.Sprintf("%s %s", r.name, short(r.value)))
			continue
		}
		sign := ">="
		if below(r.value, r.threshold) {
			sign = "<"
		}
		parts = append(parts, fmt.Sprintf("%s %s %s %s", r.name, short(r.value), sign, short(r.threshold)))
	}
	s := string(d.Route) + " (" + string(d.Reason)
	if len(parts) > 0 {
		s += "; " + strings.Join(parts, ", ")
	}
	if d.Degraded {
		s += "; degraded"
	}
	return s + ")"
}

// Explain is the decision as a table of every number, with a sentence on what
// decided.
func (d Decision) Explain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "route       %s\nreason      %s: %s\nmode        %s\n", d.Route, d.Reason, d.Reason.Sentence(), d.Mode)
	if d.Degraded {
		b.WriteString("degraded    yes: the server should have answered\n")
	}
	fmt.Fprintf(&b, "\n%-12s %9s %10s  %-6s %s\n", "signal", "value", "threshold", "", "what it is")
	for _, r := range d.rows() {
		verdict := "-"
		if finite(r.value) && finite(r.threshold) {
			verdict = "stays"
			if below(r.value, r.threshold) {
				verdict = "leaves"
			}
		}
		fmt.Fprintf(&b, "%-12s %9s %10s  %-6s %s\n", r.name, dash(r.value), dash(r.threshold), verdict, r.what)
	}
	fmt.Fprintf(&b, "%-12s %9s %10s  %-6s %s\n", "least-token", dash(d.Signals.LeastToken), "-", "-", "least probability of a drafted token")
	fmt.Fprintf(&b, "%-12s %9d %10d  %-6s %s\n", "tokens", d.Signals.Tokens, DraftTokens, "-", "tokens drafted before the decision")
	return b.String()
}

// Sentence says a reason in words.
func (r Reason) Sentence() string {
	switch r {
	case InScope:
		return "the query is like your examples and the draft is confident"
	case OutOfScope:
		return "the query is unlike your examples or the pool's data"
	case LowConfidence:
		return "the draft's tokens were unlikely"
	case Forced:
		return "the side was named by the mode or the request"
	case Preferred:
		return "the mode leans to this side"
	case LocalOnly:
		return "nothing may leave this machine"
	case NoServer:
		return "no server is set"
	case ServerFailed:
		return "the server failed before its first byte"
	case NoSignal:
		return "nothing was measured"
	}
	return string(r)
}

type jsonSignal struct {
	Name      string   `json:"name"`
	Value     *float64 `json:"value"`     // null: not measured
	Threshold *float64 `json:"threshold"` // null: off
	Fired     bool     `json:"fired"`
}

type jsonDecision struct {
	Route      Side         `json:"route"`
	Reason     Reason       `json:"reason"`
	Degraded   bool         `json:"degraded"`
	Mode       Mode         `json:"mode"`
	Triggers   []Reason     `json:"triggers"`
	Signals    []jsonSignal `json:"signals"`
	LeastToken *float64     `json:"least_token"`
	Tokens     int          `json:"tokens"`
}

// MarshalJSON writes every number; what was not measured or is off is null.
func (d Decision) MarshalJSON() ([]byte, error) {
	out := jsonDecision{Route: d.Route, Reason: d.Reason, Degraded: d.Degraded, Mode: d.Mode,
		Triggers: append([]Reason{}, d.Triggers...), LeastToken: number(d.Signals.LeastToken), Tokens: d.Signals.Tokens}
	for _, r := range d.rows() {
		out.Signals = append(out.Signals, jsonSignal{r.name, number(r.value), number(r.threshold), below(r.value, r.threshold)})
	}
	return json.Marshal(out)
}

func finite(x float32) bool {
	return !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0)
}

func number(x float32) *float64 {
	if !finite(x) {
		return nil
	}
	// The shortest decimal that reads back as this float32.
	f, err := strconv.ParseFloat(strconv.FormatFloat(float64(x), 'g', -1, 32), 64)
	if err != nil {
		return nil
	}
	return &f
}

func decimal(x float32) string { return strconv.FormatFloat(float64(x), 'f', 4, 32) }
func short(x float32) string   { return strconv.FormatFloat(float64(x), 'f', 3, 32) }

func dash(x float32) string {
	if !finite(x) {
		return "-"
	}
	return decimal(x)
}
