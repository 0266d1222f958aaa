package route

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"crayon/internal/route/calibrate"
	"crayon/internal/route/signal"
)

// The names of the headers a decision is told in.
const (
	HeaderRoute      = "x-crayon-route"
	HeaderReason     = "x-crayon-reason"
	HeaderScope      = "x-crayon-scope"
	HeaderConfidence = "x-crayon-confidence"
	HeaderThreshold  = "x-crayon-threshold"
	HeaderDegraded   = "x-crayon-degraded"
	HeaderGain       = "x-crayon-gain"
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
	if e := d.Estimate; e != nil {
		h.Set(HeaderGain, strconv.FormatFloat(e.Gain, 'f', 4, 64))
		h.Set(HeaderThreshold, strings.TrimSpace(h.Get(HeaderThreshold)+" gain="+strconv.FormatFloat(e.Threshold, 'f', 4, 64)))
	}
	return h
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
	if e := d.Estimate; e != nil {
		sign := "<="
		if e.Send {
			sign = ">"
		}
		when := ""
		if e.Early {
			when = " before the draft"
		}
		parts = append(parts, fmt.Sprintf("gain%s %+.3f %s %+.3f", when, e.Gain, sign, e.Threshold))
	}
	s := string(d.Route) + " (" + string(d.Reason)
	if len(parts) > 0 {
		s += "; " + strings.Join(parts, ", ")
	}
	if d.Degraded {
		s += "; degraded"
	}
	if d.Cause != "" {
		s += "; " + d.Cause
	}
	return s + ")"
}

// Explain is the decision as tables of every number, with a sentence on what
// decided.
func (d Decision) Explain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "route       %s\nreason      %s: %s\nmode        %s\n", d.Route, d.Reason, d.Reason.Sentence(), d.Mode)
	if d.Degraded {
		b.WriteString("degraded    yes: the server should have answered\n")
	}
	if d.Cause != "" {
		fmt.Fprintf(&b, "cause       %s\n", d.Cause)
	}
	fmt.Fprintf(&b, "triggers    out of scope: %s; low confidence: %s\n", yes(slices.Contains(d.Triggers, OutOfScope)), yes(slices.Contains(d.Triggers, LowConfidence)))
	fmt.Fprintf(&b, "looked at   %s\n", d.lookedAt())
	fmt.Fprintf(&b, "calibrated  %s\n", d.calibration())
	fmt.Fprintf(&b, "\n%-12s %9s %10s  %-6s %s\n", "threshold", "value", "at least", "", "what it is")
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
	if d.Signals.Values != nil {
		d.explainSignals(&b)
	}
	return b.String()
}

func yes(x bool) string {
	if x {
		return "yes"
	}
	return "no"
}

// lookedAt says how much of the conversation counted.
func (d Decision) lookedAt() string {
	switch {
	case d.Signals.Turns == 0:
		return "the question, which begins the conversation"
	case d.Signals.Earlier == 0:
		return fmt.Sprintf("the last turn; of the %d messages before it, how many they are and who answered", d.Signals.Turns)
	}
	return fmt.Sprintf("the last turn and, the more the shorter it is, the last %d of the user before it; %d messages in all came before", d.Signals.Earlier, d.Signals.Turns)
}

func (d Decision) calibration() string {
	stale := ""
	if len(d.Stale) > 0 {
		stale = "; that of the customisation is stale: " + strings.Join(d.Stale, ", ") + " changed since"
	}
	switch {
	case d.Rule == nil:
		return "no: thresholds alone decide" + stale
	case d.Calibrated == CalibratedDefault:
		return "by the default that ships with the program" + stale
	}
	return fmt.Sprintf("on %d rows, checked on %d others%s", d.Rule.FitRows, d.Rule.CheckRows, stale)
}

// explainSignals is every signal with what it adds to the device's logit, and
// what comes of them.
func (d Decision) explainSignals(b *strings.Builder) {
	logit := map[string]float64{}
	if d.Estimate != nil {
		for _, p := range d.Estimate.Parts {
			logit[p.Signal] = p.Logit
		}
	}
	fmt.Fprintf(b, "\n%-18s %9s %8s  %-10s %s\n", "signal", "value", "logit", "speaks of", "what it is")
	for i, s := range signal.All() {
		value, adds := "-", "-"
		if x := d.Signals.Values[i]; !math.IsNaN(x) {
			value = strconv.FormatFloat(x, 'f', 4, 64)
		}
		if x, ok := logit[s.Name]; ok {
			adds = strconv.FormatFloat(x, 'f', 3, 64)
		}
		about := s.About
		if s.Drafts > 0 {
			about += fmt.Sprintf(" (off unless route.samples is set: each costs a draft of %d tokens)", DraftTokens)
		}
		fmt.Fprintf(b, "%-18s %9s %8s  %-10s %s\n", s.Name, value, adds, s.Kind, about)
	}
	e := d.Estimate
	if e == nil {
		return
	}
	fmt.Fprintf(b, "%-18s %9s %8.3f  %-10s %s\n", "(all queries)", "", e.Common, "", "what every query starts from")
	fmt.Fprintf(b, "%-18s %9s %8.3f  %-10s %s\n", "(sum)", "", e.Logit, "", "the device's logit")
	verdict := "stays"
	if e.Send {
		verdict = "leaves"
	}
	fmt.Fprintf(b, "\ndevice right %.3f, server right %.3f: gain %+.3f, leaves above %+.3f: %s\n", e.Device, e.Server, e.Gain, e.Threshold, verdict)
	if d.Rule != nil {
		fmt.Fprintf(b, "rule: %s\n", d.Rule.Sentence())
	}
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
	case Shadowed:
		return "the device answers; a sample is asked of the server too"
	case Forced:
		return "the side was named by the mode or the request"
	case Preferred:
		return "the mode leans to this side"
	case LocalOnly:
		return "nothing may leave this machine"
	case NoServer:
		return "no server is set"
	case Private:
		return "the query or its conversation holds something private"
	case OverBudget:
		return "the budget is spent"
	case ServerFailed:
		return "the server failed before its first byte"
	case NoSignal:
		return "nothing was measured"
	case BeyondDevice:
		return "the query asks for what only the server LLM can do"
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
	Cause      string       `json:"cause,omitempty"`
	Degraded   bool         `json:"degraded"`
	Mode       Mode         `json:"mode"`
	Triggers   []Reason     `json:"triggers"`
	Signals    []jsonSignal `json:"signals"`
	LeastToken *float64     `json:"least_token"`
	Tokens     int          `json:"tokens"`

	Turns      int                 `json:"turns,omitempty"`   // messages before the query
	Earlier    int                 `json:"earlier,omitempty"` // turns of the user whose scope counts
	Values     signal.Values       `json:"values,omitempty"`  // every signal that was measured
	Estimate   *calibrate.Estimate `json:"estimate,omitempty"`
	Rule       *calibrate.Rule     `json:"rule,omitempty"`
	Calibrated string              `json:"calibrated,omitempty"` // own or default
	Stale      []string            `json:"stale,omitempty"`
}

// MarshalJSON writes every number; what was not measured or is off is null.
func (d Decision) MarshalJSON() ([]byte, error) {
	out := jsonDecision{Route: d.Route, Reason: d.Reason, Cause: d.Cause, Degraded: d.Degraded, Mode: d.Mode,
		Triggers: append([]Reason{}, d.Triggers...), LeastToken: number(d.Signals.LeastToken), Tokens: d.Signals.Tokens,
		Turns: d.Signals.Turns, Earlier: d.Signals.Earlier, Values: d.Signals.Values, Estimate: d.Estimate, Rule: d.Rule, Calibrated: d.Calibrated, Stale: d.Stale}
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
