package hybrid

import (
	"log/slog"
	"slices"
	"time"

	"crayon/internal/chat"
	"crayon/internal/fault"
	"crayon/internal/route"
	"crayon/internal/route/calibrate"
	"crayon/internal/route/record"
)

// How much of a query the log keeps.
const (
	LogDigests = "digests" // its digest, its signals, and what became of it
	LogText    = "text"    // its last turn too
	LogOff     = "off"     // no log
)

// Asking for consent before answers of the server become examples.
const (
	HarvestAsk = "ask" // they are kept for the user to look through
	HarvestOff = "off"
)

// keep remembers, logs and counts an answered query. What fails of that does not
// fail the answer.
func (w *work) keep(a *Answer, err error) {
	h := w.h
	d := a.Decision
	if d.Route == "" {
		return // refused before it was decided
	}
	if err == nil {
		h.mu.Lock()
		past := append(slices.Clone(w.seen.Past), d.Route == route.Server)
		h.past.put(conversation(append(slices.Clone(w.q.Messages), chat.Message{Role: "assistant", Content: a.Text})), past)
		h.mu.Unlock()
	}
	e := w.entry(a, err)
	h.counts.decided(e)
	w.drift(e)
	if h.Records == nil {
		return
	}
	if w.q.Custom != nil || len(h.Servers) > 0 {
		h.list(e)
	}
	if err == nil {
		w.harvest(a)
	}
	if err == nil && d.Mode == route.Shadow && d.Route == route.Device {
		w.shadow(a.Text)
	}
}

// note logs what went wrong beside an answer.
func (h *Hybrid) note(err error) {
	if err != nil {
		h.logger().Warn("routing", slog.String("error", err.Error()), slog.String("hint", fault.Hint(err)))
	}
}

func (h *Hybrid) logger() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}

// list appends to the log, unless it is off; the records must be there.
func (h *Hybrid) list(e *record.Entry) {
	if h.Policy.Log != LogOff {
		h.note(h.Records.Append(e))
	}
}

// logged is what the log has of any decided query that began at start.
func logged(a *Answer, start time.Time, err error) *record.Entry {
	d := a.Decision
	e := &record.Entry{Kind: record.Decided, Time: start.UTC().Truncate(time.Millisecond),
		Route: string(d.Route), Reason: string(d.Reason), Mode: string(d.Mode), Degraded: d.Degraded,
		Outcome: "ok", Model: a.Model, Prompt: a.PromptTokens, Tokens: a.CompletionTokens, MS: time.Since(start).Milliseconds()}
	if err != nil {
		e.Outcome = "failed"
	}
	return e
}

func (w *work) entry(a *Answer, err error) *record.Entry {
	d := a.Decision
	e := logged(a, w.start, err)
	e.Digest, e.Turns = conversation(w.q.Messages).String(), len(w.q.Messages)-1
	e.Cluster, e.Signals = d.Signals.Cluster, d.Signals.Values
	if w.q.Custom != nil {
		e.Name = w.q.Custom.Name
	}
	for _, t := range d.Triggers {
		e.Triggers = append(e.Triggers, string(t))
	}
	e.Send, e.Undrafted = len(d.Triggers) > 0, d.Signals.Tokens == 0
	if x := d.Estimate; x != nil {
		e.Device, e.Server, e.Gain, e.Threshold, e.Send = x.Device, x.Server, x.Gain, x.Threshold, e.Send || x.Send
	}
	if d.Model != nil {
		e.Calibration = w.judge.id
	}
	if w.h.Policy.Log == LogText && w.setting.Barrier != route.Private {
		e.Query = w.q.Messages[len(w.q.Messages)-1].Content
	}
	return e
}

// drift adds the query to its calibration's watch, and warns once a band is left.
func (w *work) drift(e *record.Entry) {
	if e.Calibration == "" || !e.Told() {
		return
	}
	w.h.mu.Lock()
	var raised []calibrate.Drift
	if watch := w.judge.watch; watch != nil {
		raised = watch.Add(e.Row(), e.Send)
		w.h.counts.drifts(e.Name, watch.Drifts())
	}
	w.h.mu.Unlock()
	for _, r := range raised {
		w.h.logger().Warn("routing drifts from its calibration", slog.String("customisation", e.Name), slog.String("of", r.Name),
			slog.Float64("share", r.Share), slog.Float64("low", r.Low), slog.Float64("high", r.High), slog.Int("queries", r.Queries))
	}
}

// harvest keeps an answer of the server as a candidate example, with consent.
func (w *work) harvest(a *Answer) {
	c := w.q.Custom
	if w.h.Policy.Harvest != HarvestAsk || c == nil || a.Decision.Route != route.Server || len(w.q.Messages) != 1 || a.Finish != "stop" {
		return // an answer that was cut, or that needs the turns before it, is no example
	}
	answer := a.Text
	if labels := w.labels(); len(labels) > 0 {
		i := Pick(answer, labels)
		if i < 0 {
			return
		}
		answer = labels[i]
	}
	_, err := w.h.Records.AddCandidate(c.Name, record.Candidate{Question: w.q.Messages[0].Content, Answer: answer, Choices: w.q.Choices, Context: w.q.Context})
	w.h.note(err)
}
