// Package route decides whether the device LLM or the server LLM answers, and
// says why with every number it used. It is pure: no clock, no file, no
// network.
package route

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"crayon/internal/route/calibrate"
	"crayon/internal/route/signal"
)

// Reason says which rule decided.
type Reason string

// The reasons.
const (
	InScope       Reason = "in-scope"       // near the user's examples, and confident
	OutOfScope    Reason = "out-of-scope"   // unlike the user's examples or the pool's data
	LowConfidence Reason = "low-confidence" // the draft's tokens were unlikely
	Forced        Reason = "forced"         // the mode or the request named the side
	Preferred     Reason = "preferred"      // the mode leans to the side, and nothing stood against it
	Shadowed      Reason = "shadow"         // the device answers, whatever the signals say
	LocalOnly     Reason = "local-only"     // nothing may leave
	NoServer      Reason = "no-server"      // no server is set
	Private       Reason = "private"        // the query or its conversation holds what must not leave, or is tagged so
	OverBudget    Reason = "over-budget"    // nothing more may be spent
	ServerFailed  Reason = "server-failed"  // the server gave no first byte; the device answers
	NoSignal      Reason = "no-signal"      // nothing was measured, so nothing speaks against the device
	BeyondDevice  Reason = "beyond-device"  // it asks for what the device LLM can't do, such as tool calls
)

// Signals are what was measured about one query. A signal that was not
// measured is NaN and triggers nothing.
type Signals struct {
	ScopeUser  float32 // cosine similarity to the user's examples (see Scope), -1 to 1; earlier turns count
	ScopePool  float32 // cosine similarity to the nearest indicator of the pool, -1 to 1
	Confidence float32 // mean probability of the drafted tokens, 0 to 1
	LeastToken float32 // least probability of a drafted token, 0 to 1
	Tokens     int     // tokens drafted, at most DraftTokens

	Values  signal.Values // all of the registry; nil: none was measured
	Cluster string        // the nearest indicator's place; "": none
	Turns   int           // messages before the query
	Earlier int           // of them, turns of the user whose scope counts
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

// Row is the query as a calibration is asked about it.
func (s Signals) Row() calibrate.Row {
	v := s.Values
	if v == nil {
		v = signal.None()
	}
	return calibrate.Row{Cluster: s.Cluster, Signals: v, Device: math.NaN(), Server: math.NaN()}
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

// Which calibration decides.
const (
	CalibratedOwn     = "own"     // of the customisation
	CalibratedDefault = "default" // the one that ships with the program
)

// Setting is what holds for a request besides its signals.
type Setting struct {
	Mode      Mode   // "" is Auto
	Force     Side   // named by the request; "" leaves it to the mode
	LocalOnly bool   // nothing may leave
	HasServer bool   // a server is set
	Barrier   Reason // Private or OverBudget: why the query can't leave; "" for nothing

	Calibration *calibrate.Calibration // nil: the thresholds alone decide
	Calibrated  string                 // which it is
	Stale       []string               // what changed since the customisation was calibrated; then that is not Calibration
}

// Decision is who answers and all that led to it.
type Decision struct {
	Route      Side
	Reason     Reason
	Cause      string   // in words, why no server answers though one should; "" where the reason says all
	Degraded   bool     // the device answers though the server should have
	Triggers   []Reason // OutOfScope and LowConfidence, as far as they fired, the one that decided first
	Mode       Mode
	Signals    Signals
	Thresholds Thresholds

	Estimate   *calibrate.Estimate // nil: not calibrated
	Rule       *calibrate.Rule     // what the calibration promised
	Calibrated string
	Stale      []string
	Model      *calibrate.Calibration // that Estimate is from, to decide anew by
}

// UnreachableError is the refusal of a forced server that can't be used, or of a
// request that only a server can answer.
type UnreachableError struct {
	Reason Reason
	Needs  []string // what of the request is beyond the device; nil: the server was forced
	Cause  string   // in words; "" where the reason says all
}

func (e *UnreachableError) Error() string {
	if len(e.Needs) > 0 {
		return e.beyond()
	}
	switch e.Reason {
	case LocalOnly:
		return "the server was asked for, but nothing may leave (local-only)"
	case Private:
		return "the server was asked for, but the query is private"
	case OverBudget:
		return "the server was asked for, but the budget is spent"
	}
	return "the server was asked for, but none is set"
}

// Decide picks the side. A forced server that can't be used is an
// *UnreachableError, never a silent answer of the device; where the server
// was only the better choice, the device answers, marked Degraded.
func Decide(s Signals, t Thresholds, set Setting) (Decision, error) { return decide(s, t, set, false) }

func decide(s Signals, t Thresholds, set Setting, early bool) (Decision, error) {
	mode, err := set.mode()
	if err != nil {
		return Decision{}, err
	}
	d := Decision{Route: Device, Mode: mode, Signals: s, Thresholds: t, Triggers: triggers(s, t), Stale: set.Stale}
	if c := set.Calibration; c != nil && s.Values != nil {
		d.weigh(c, set.Calibrated, early)
	}
	barrier := set.barrier()
	force := set.force(mode)
	switch force {
	case "":
	case Device:
		d.Reason = Forced
		return d, nil
	case Server:
		if barrier != "" {
			return Decision{}, &UnreachableError{Reason: barrier}
		}
		d.Route, d.Reason = Server, Forced
		return d, nil
	default:
		return Decision{}, fmt.Errorf("route %q: want device or server", force)
	}
	d.lean(barrier)
	return d, nil
}

// mode is the mode that holds.
func (set *Setting) mode() (Mode, error) {
	if set.Mode == "" {
		return Auto, nil
	}
	return ParseMode(string(set.Mode))
}

// barrier is what keeps every query here; "" for nothing.
func (set *Setting) barrier() Reason {
	switch {
	case set.LocalOnly:
		return LocalOnly
	case !set.HasServer:
		return NoServer
	}
	return set.Barrier
}

// force is the side that the request or the mode names; "" for neither.
func (set *Setting) force(mode Mode) Side {
	switch {
	case set.Force != "":
		return set.Force
	case mode == DeviceOnly:
		return Device
	case mode == ServerOnly:
		return Server
	}
	return ""
}

// weigh adds what a calibration says, and its triggers before those of the
// thresholds.
func (d *Decision) weigh(c *calibrate.Calibration, which string, early bool) {
	if which == CalibratedDefault && !c.Covers(d.Signals.Values) {
		return
	}
	d.Rule, d.Calibrated, d.Model = &c.Rule, which, c
	if early && !c.JudgesEarly() {
		return
	}
	e := c.Estimate(d.Signals.Row(), early)
	d.Estimate = &e
	if !e.Send {
		return
	}
	type against struct {
		reason Reason
		logit  float64
	}
	both := []against{{OutOfScope, e.Against(signal.Scope)}, {LowConfidence, e.Against(signal.Confidence)}}
	slices.SortStableFunc(both, func(a, b against) int { return cmp.Compare(a.logit, b.logit) })
	fired := []Reason{both[0].reason} // a query that leaves has one at least: what speaks least for the device
	if both[1].logit < 0 {
		fired = append(fired, both[1].reason)
	}
	for _, r := range d.Triggers {
		if !slices.Contains(fired, r) {
			fired = append(fired, r)
		}
	}
	d.Triggers = fired
}

// lean decides where nothing is forced.
func (d *Decision) lean(barrier Reason) {
	send, why := false, Reason("")
	switch d.Mode {
	case Shadow:
		why = Shadowed
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
	case measured(d.Signals):
		d.Reason = InScope
	default:
		d.Reason = NoSignal
	}
}

// DecideBeforeDraft is Decide on what is known before the draft: final is true
// when no draft could change the side, so that a query that leaves anyway costs
// no draft.
func DecideBeforeDraft(s Signals, t Thresholds, set Setting) (d Decision, final bool, err error) {
	nan := float32(math.NaN())
	s.Confidence, s.LeastToken, s.Tokens = nan, nan, 0
	if s.Values != nil {
		s.Values = s.Values.Early()
	}
	d, err = decide(s, t, set, true)
	if err != nil {
		return d, true, err
	}
	switch {
	case d.Reason == Forced, d.Route == Server:
		return d, true, nil
	case d.Mode == PreferServer, set.LocalOnly, !set.HasServer, set.Barrier != "" && d.Degraded:
		return d, true, nil // the device, whatever the draft says
	case d.Mode == Shadow:
		return d, false, nil // what would have been decided is of interest
	case d.Model != nil:
		return d, false, nil // only the draft completes what it is asked
	case !active(t.Confidence):
		return d, true, nil
	case d.Mode == PreferDevice && len(d.Triggers) == 0:
		return d, true, nil // confidence alone can't send it
	}
	return d, false, nil
}

// IfThereWere is the decision at the same numbers if a server were set and
// nothing stood in its way.
func (d Decision) IfThereWere() (Decision, error) {
	return Decide(d.Signals, d.Thresholds, Setting{Mode: d.Mode, HasServer: true, Calibration: d.Model, Calibrated: d.Calibrated, Stale: d.Stale})
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
