package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Health is how a server has done of late.
type Health string

// The states of a server's circuit breaker.
const (
	Healthy   Health = "healthy"   // it is asked
	Resting   Health = "resting"   // it failed several times in a row: not asked for a while
	Probing   Health = "probing"   // one request finds out
	restFrom         = 3           // failures in a row
	restLeast        = time.Second // doubled at each further failure
	restMost         = time.Minute
)

// breaker keeps requests from a server that keeps failing, so that nobody waits
// for it in vain.
type breaker struct {
	now func() time.Time

	mu      sync.Mutex
	fails   int // in a row
	until   time.Time
	probing bool
	last    string // the last failure
}

// enter says whether a request may try; who entered calls leave.
func (b *breaker) enter() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch now := b.now(); {
	case b.until.IsZero():
		return nil
	case now.Before(b.until), b.probing:
		return &Failure{Kind: Rests, Detail: b.resting(now)}
	}
	b.probing = true
	return nil
}

// peek is enter without trying.
func (b *breaker) peek() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.now(); !b.until.IsZero() && (now.Before(b.until) || b.probing) {
		return &Failure{Kind: Rests, Detail: b.resting(now)}
	}
	return nil
}

func (b *breaker) resting(now time.Time) string {
	if b.probing {
		return "another request finds out whether it answers; before: " + b.last
	}
	return fmt.Sprintf("it failed %d times in a row, and is asked again in %s; the last time: %s", b.fails, b.until.Sub(now).Round(100*time.Millisecond), b.last)
}

// leave notes how a request went. What says nothing of the server's health,
// such as a refusal or the caller's own end, counts neither way.
func (b *breaker) leave(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var f *Failure
	switch {
	case err == nil:
		b.fails, b.until, b.probing, b.last = 0, time.Time{}, false, ""
		return
	case errors.Is(err, context.Canceled), !errors.As(err, &f), f.Kind == Rejected, f.Kind == Unauthorized, f.Kind == TooLong, f.Kind == Rests:
		b.probing = false
		return
	}
	b.fails++
	b.probing = false
	b.last = f.Error()
	rest := time.Duration(0)
	if b.fails >= restFrom {
		rest = min(restMost, restLeast<<min(b.fails-restFrom, 10))
	}
	// Asked to wait, it is left in peace.
	if f.RetryAfter > rest {
		rest = min(f.RetryAfter, time.Hour)
	}
	if rest > 0 {
		b.until = b.now().Add(rest)
	}
}

func (b *breaker) health() (Health, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.until.IsZero():
		return Healthy, b.last
	case b.probing || !b.now().Before(b.until):
		return Probing, b.last
	}
	return Resting, b.last
}
