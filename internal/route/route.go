// Package route decides whether the device LLM or the server LLM answers, and
// says why with every number it used. It is pure: no clock, no file, no
// network.
package route

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Side is who answers.
type Side string

// The two sides.
const (
	Device Side = "device"
	Server Side = "server"
)

// Mode is how free the decision is.
type Mode string

// The modes.
const (
	Auto         Mode = "auto"          // the signals decide
	DeviceOnly   Mode = "device"        // always the device
	ServerOnly   Mode = "server"        // always the server; an error when there is none
	PreferDevice Mode = "prefer-device" // the server only when both triggers say so
	PreferServer Mode = "prefer-server" // the device only when the server can't be had
)

// Modes lists them all.
func Modes() []Mode { return []Mode{Auto, DeviceOnly, ServerOnly, PreferDevice, PreferServer} }

// ParseMode reads a mode's name.
func ParseMode(s string) (Mode, error) {
	if m := Mode(s); slices.Contains(Modes(), m) {
		return m, nil
	}
	names := make([]string, 0, len(Modes()))
	for _, m := range Modes() {
		names = append(names, string(m))
	}
	return "", fmt.Errorf("route mode %q: want one of %s", s, strings.Join(names, ", "))
}

// Reason says which rule decided.
type Reason string

// The reasons.
const (
	InScope       Reason = "in-scope"       // near the user's examples, and confident
	OutOfScope    Reason = "out-of-scope"   // unlike the user's examples or the pool's data
	LowConfidence Reason = "low-confidence" // the draft's tokens were unlikely
	Forced        Reason = "forced"         // the mode or the request named the side
	Preferred     Reason = "preferred"      // the mode leans to the side, and nothing stood against it
	LocalOnly     Reason = "local-only"     // nothing may leave
	NoServer      Reason = "no-server"      // no server is set
	ServerFailed  Reason = "server-failed"  // the server gave no first byte; the device answers
	NoSignal      Reason = "no-signal"      // nothing was measured, so nothing speaks against the device
)

// Signals are what was measured about one query. A signal that was not
// measured is NaN and triggers nothing.
type Signals struct {
	ScopeUser  float32 // cosine similarity to the user's examples (see Scope), -1 to 1
	ScopePool  float32 // cosine similarity to the nearest indicator of the pool, -1 to 1
	Confidence float32 // mean probability of the drafted tokens, 0 to 1
	LeastToken float32 // least probability of a drafted token, 0 to 1
	Tokens     int     // tokens drafted, at most DraftTokens
}

// DraftTokens is how many tokens the device drafts before the decision.
const DraftTokens = 32

// DefaultConfidence is the least confidence that keeps a customisation's answer
// on the device. On 210 training rows of tasks the default pool had not seen,
// no answer of a label task fell below it, and all 30 free answers that did
// were wrong.
const DefaultConfidence = 0.3

// Unmeasured has every signal missing.
func Unmeasured() Signals {
	nan := float32(math.NaN())
	return Signals{ScopeUser: nan, ScopePool: nan, Confidence: nan, LeastToken: nan}
}

// WithDraft adds the probabilities of the drafted tokens; those past
// DraftTokens are left out. Without tokens the confidence stays unmeasured.
func (s Signals) WithDraft(probs []float32) Signals {
	probs = probs[:min(len(probs), DraftTokens)]
	s.Tokens = len(probs)
	if len(probs) == 0 {
		nan := float32(math.NaN())
		s.Confidence, s.LeastToken = nan, nan
		return s
	}
	sum := 0.0
	s.LeastToken = probs[0]
	for _, p := range probs {
		sum += float64(p)
		s.LeastToken = min(s.LeastToken, p)
	}
	s.Confidence = float32(sum / float64(len(probs)))
	return s
}

// Thresholds are the least values that keep a query on the device. NaN or
// -Inf turns a trigger off.
type Thresholds struct {
	ScopeUser  float32
	ScopePool  float32
	Confidence float32
}

// Off is the thresholds that trigger nothing.
func Off() Thresholds {
	off := float32(math.Inf(-1))
	return Thresholds{off, off, off}
}

// Setting is what holds for a request besides its signals.
type Setting struct {
	Mode      Mode // "" is Auto
	Force     Side // named by the request; "" leaves it to the mode
	LocalOnly bool // nothing may leave
	HasServer bool // a server is set
}

// Decision is who answers and all that led to it.
type Decision struct {
	Route      Side
	Reason     Reason
	Degraded   bool     // the device answers though the server should have
	Triggers   []Reason // OutOfScope and LowConfidence, as far as they fired
	Mode       Mode
	Signals    Signals
	Thresholds Thresholds
}

// UnreachableError is the refusal of a forced server that can't be used.
type UnreachableError struct{ Reason Reason }

func (e *UnreachableError) Error() string {
	if e.Reason == LocalOnly {
		return "the server was asked for, but nothing may leave (local-only)"
	}
	return "the server was asked for, but none is set"
}

// Decide picks the side. A forced server that can't be used is an
// *UnreachableError, never a silent answer of the device; where the server
// was only the better choice, the device answers, marked Degraded.
func Decide(s Signals, t Thresholds, set Setting) (Decision, error) {
	mode := set.Mode
	if mode == "" {
		mode = Auto
	}
	if _, err := ParseMode(string(mode)); err != nil {
		return Decision{}, err
	}
	d := Decision{Route: Device, Mode: mode, Signals: s, Thresholds: t, Triggers: triggers(s, t)}
	barrier := Reason("")
	switch {
	case set.LocalOnly:
		barrier = LocalOnly
	case !set.HasServer:
		barrier = NoServer
	}
	force := set.Force
	if force == "" {
		switch mode {
		case DeviceOnly:
			force = Device
		case ServerOnly:
			force = Server
		}
	}
	switch force {
	case "":
	case Device:
		d.Reason = Forced
		return d, nil
	case Server:
		if barrier != "" {
			return Decision{}, &UnreachableError{barrier}
		}
		d.Route, d.Reason = Server, Forced
		return d, nil
	default:
		return Decision{}, fmt.Errorf("route %q: want device or server", force)
	}

	send, why := false, Reason("")
	switch mode {
	case PreferServer:
		send, why = true, Preferred
		if len(d.Triggers) > 0 {
			why = d.Triggers[0]
		}
	case PreferDevice:
		if len(d.Triggers) > 1 {
			send, why = true, d.Triggers[0]
		} else if len(d.Triggers) == 1 {
			why = Preferred
		}
	default:
		if len(d.Triggers) > 0 {
			send, why = true, d.Triggers[0]
		}
	}
	switch {
	case send && barrier != "":
		// With no server set nobody expects one; but a query that should
		// have left is marked, so that its answer is read with care.
		d.Reason, d.Degraded = barrier, true
	case send:
		d.Route, d.Reason = Server, why
	case why != "":
		d.Reason = why
	case measured(s):
		d.Reason = InScope
	default:
		d.Reason = NoSignal
	}
	return d, nil
}

// DecideBeforeDraft is Decide on the scope alone: final is true when no draft
// could change the side, so that a query that leaves anyway costs no draft.
func DecideBeforeDraft(s Signals, t Thresholds, set Setting) (d Decision, final bool, err error) {
	nan := float32(math.NaN())
	s.Confidence, s.LeastToken, s.Tokens = nan, nan, 0
	d, err = Decide(s, t, set)
	if err != nil {
		return d, true, err
	}
	switch {
	case d.Reason == Forced, d.Route == Server:
		return d, true, nil
	case d.Mode == PreferServer, set.LocalOnly, !set.HasServer:
		return d, true, nil // the device, whatever the draft says
	case !active(t.Confidence):
		return d, true, nil
	case d.Mode == PreferDevice && len(d.Triggers) == 0:
		return d, true, nil // confidence alone can't send it
	}
	return d, false, nil
}

// Fallback is the decision after a server failed before its first byte: the
// device answers, marked.
func (d Decision) Fallback() Decision {
	d.Route, d.Reason, d.Degraded = Device, ServerFailed, true
	return d
}

// triggers are the reasons against the device, scope first.
func triggers(s Signals, t Thresholds) []Reason {
	var out []Reason
	if below(s.ScopeUser, t.ScopeUser) || below(s.ScopePool, t.ScopePool) {
		out = append(out, OutOfScope)
	}
	if below(s.Confidence, t.Confidence) {
		out = append(out, LowConfidence)
	}
	return out
}

// below is false where either is NaN.
func below(x, threshold float32) bool { return x < threshold }

func active(threshold float32) bool { return threshold > float32(math.Inf(-1)) }

func measured(s Signals) bool {
	return s.ScopeUser == s.ScopeUser || s.ScopePool == s.ScopePool || s.Confidence == s.Confidence
}
