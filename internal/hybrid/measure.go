package hybrid

import (
	"context"

	"crayon/internal/fault"
	"crayon/internal/route"
)

// Measure answers on the device, with every signal and the decision, and keeps
// nothing: what a calibration is learned from.
func (h *Hybrid) Measure(ctx context.Context, q Query) (text string, d route.Decision, err error) {
	w := &work{h: h, q: q, sink: nowhere{}}
	defer w.close()
	if err := w.prepare(ctx); err != nil {
		return "", d, err
	}
	if err := w.makeDraft(ctx); err != nil {
		return "", d, err
	}
	w.setting.Mode, w.setting.Force = route.Auto, ""
	if d, err = route.Decide(w.signals, w.thresholds, w.setting); err != nil {
		return "", d, err
	}
	a, err := w.fromDevice(ctx, d)
	return a.Text, d, err
}

// AskServer is the server's answer to a query, through the gate as any other.
func (h *Hybrid) AskServer(ctx context.Context, q Query, why string) (string, error) {
	if h.LocalOnly {
		return "", unreachable(&route.UnreachableError{Reason: route.LocalOnly})
	}
	if len(h.Servers) == 0 {
		return "", unreachable(&route.UnreachableError{Reason: route.NoServer})
	}
	w := &work{h: h, q: q}
	defer w.close()
	if err := w.prepare(ctx); err != nil {
		return "", err
	}
	h.count(q.Key)
	text, _, err := w.whole(ctx, w.request(why))
	if err != nil {
		return "", &fault.Error{Op: "ask server", Err: err}
	}
	return text, nil
}

// nowhere is a sink for nobody.
type nowhere struct{}

func (nowhere) Decided(route.Decision) error { return nil }
func (nowhere) Text(string) error            { return nil }
