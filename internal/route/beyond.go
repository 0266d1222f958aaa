package route

import (
	"fmt"
	"strings"
)

// DecideBeyond decides a request that asks for needs, which the device LLM can't
// do: the server, or an *UnreachableError, never the device. Nothing is measured
// for it. The mode shadow sends it too: it lets queries out, and the device has
// nothing to answer.
func DecideBeyond(needs []string, set Setting) (Decision, error) {
	mode, err := set.mode()
	if err != nil {
		return Decision{}, err
	}
	reason := set.barrier()
	switch set.force(mode) {
	case "", Server:
	case Device:
		reason = Forced
	default:
		return Decision{}, fmt.Errorf("route %q: want device or server", set.Force)
	}
	if reason != "" {
		return Decision{}, &UnreachableError{Reason: reason, Needs: needs}
	}
	return Decision{Route: Server, Reason: BeyondDevice, Mode: mode, Signals: Unmeasured(), Thresholds: Off()}, nil
}

// beyond is the error of a request that only the server can answer.
func (e *UnreachableError) beyond() string {
	why := "no server is set"
	switch e.Reason {
	case Forced:
		why = "this request is for the device alone"
	case LocalOnly:
		why = "nothing may leave (local-only)"
	case Private:
		why = "it is private"
	case OverBudget:
		why = "the budget is spent"
	}
	if e.Cause != "" {
		why = "this one stays here: " + e.Cause
	}
	return "only the server LLM can answer a request with " + strings.Join(e.Needs, ", ") + ", but " + why
}
