package hybrid

import (
	"context"
	"encoding/binary"
	"math"
	"sync"
	"time"

	"crayon/internal/route/record"
	"crayon/internal/upstream"
)

// shadows are the queries that the server is asked after the device answered.
// They belong to the hybrid, whose Close waits for them.
type shadows struct {
	mu      sync.Mutex
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	slots   chan struct{}
	closed  bool
}

const (
	mostShadows    = 2 // at once; what comes while they run is not asked
	shadowPatience = 30 * time.Second
)

// begin takes a slot; nil if there is none.
func (s *shadows) begin() (ctx context.Context, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil
	}
	if s.slots == nil {
		s.slots = make(chan struct{}, mostShadows)
		s.ctx, s.cancel = context.WithCancel(context.Background())
	}
	select {
	case s.slots <- struct{}{}:
	default:
		return nil, nil
	}
	s.running.Add(1)
	return s.ctx, func() {
		<-s.slots
		s.running.Done()
	}
}

// close waits a while for those that run, then ends them.
func (s *shadows) close() {
	s.mu.Lock()
	s.closed = true
	cancel := s.cancel
	s.mu.Unlock()
	if cancel == nil {
		return
	}
	late := time.AfterFunc(shadowPatience, cancel)
	s.running.Wait()
	late.Stop()
	cancel()
}

// sampled says whether a query is in the sample: by its digest, so that the same
// one always is or never is.
func sampled(k key, rate float64) bool {
	return float64(binary.LittleEndian.Uint64(k[:]))/math.MaxUint64 < rate
}

// shadow asks the server what the device has answered, if the query is in the
// sample, and logs how far both agree. It counts against the budget as any call
// does.
func (w *work) shadow(answered string) {
	k := conversation(w.q.Messages)
	if len(w.h.Servers) == 0 || w.h.LocalOnly || w.barrier != nil || !sampled(k, w.h.Policy.Shadow) {
		return
	}
	ctx, done := w.h.shadows.begin()
	if ctx == nil {
		return
	}
	req := w.request("shadow")
	e := &record.Entry{Kind: record.Shadow, Time: w.start.UTC().Truncate(time.Millisecond), Digest: k.String(), Signals: w.signals.Values, Cluster: w.signals.Cluster}
	if w.q.Custom != nil {
		e.Name = w.q.Custom.Name
	}
	labels := w.labels()
	go func() {
		defer done()
		start := time.Now()
		text, reply, err := w.whole(ctx, req)
		e.MS, e.Model = time.Since(start).Milliseconds(), reply.Model
		e.Prompt, e.Tokens = int(reply.Usage.Prompt), int(reply.Usage.Completion)
		if e.Outcome = "ok"; err != nil {
			e.Outcome = string(upstream.KindOf(err))
			if e.Outcome == "" {
				e.Outcome = "failed"
			}
		} else {
			if i := Pick(text, labels); i >= 0 {
				text = labels[i]
			}
			x := Agreement(answered, text)
			e.Agreement = &x
		}
		w.h.counts.shadowed(e)
		w.h.list(e)
	}()
}

// whole is the server's answer as one text.
func (w *work) whole(ctx context.Context, req upstream.Request) (string, upstream.Reply, error) {
	st, err := w.stream(ctx, req)
	if err != nil {
		return "", upstream.Reply{}, err
	}
	defer st.Close()
	var text string
	for st.Next() {
		text += st.Delta()
	}
	return text, st.Reply(), st.Err()
}
