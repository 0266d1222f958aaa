package upstream

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// FailureKind says how a server failed.
type FailureKind string

// The kinds of failure.
const (
	Dead         FailureKind = "dead"         // no connection, or it broke before the response
	Slow         FailureKind = "slow"         // nothing came in time
	RateLimited  FailureKind = "rate-limited" // 429
	Overloaded   FailureKind = "server-error" // 5xx
	Unauthorized FailureKind = "unauthorized" // 401, 403: the key
	Rejected     FailureKind = "rejected"     // another 3xx or 4xx
	Nonsense     FailureKind = "nonsense"     // 2xx that is no answer: HTML, half JSON, no choice
	Cut          FailureKind = "cut"          // the answer broke off
	TooLarge     FailureKind = "too-large"    // more bytes or tokens than allowed
	Rests        FailureKind = "resting"      // it failed several times, and is left alone for a while
	TooLong      FailureKind = "too-long"     // the request is longer than it takes
)

// Failure is what a server did wrong.
type Failure struct {
	Kind       FailureKind
	Status     int           // HTTP status; 0 when there was none
	RetryAfter time.Duration // what the server asked for; 0 when it asked for nothing
	Detail     string        // in the server's or the transport's words, cleaned, without the key
}

func (f *Failure) Error() string {
	var b strings.Builder
	switch f.Kind {
	case Dead:
		b.WriteString("the server does not answer")
	case Slow:
		b.WriteString("the server is too slow")
	case RateLimited:
		b.WriteString("the server limits the rate")
	case Overloaded:
		b.WriteString("the server failed")
	case Unauthorized:
		b.WriteString("the server does not accept the key")
	case Rejected:
		b.WriteString("the server rejects the request")
	case Nonsense:
		b.WriteString("the server's answer makes no sense")
	case Cut:
		b.WriteString("the server's answer was cut")
	case TooLarge:
		b.WriteString("the server's answer is too large")
	case Rests:
		b.WriteString("the server is left alone")
	case TooLong:
		b.WriteString("the request is too long for the server")
	}
	if f.Status != 0 {
		fmt.Fprintf(&b, " (status %d)", f.Status)
	}
	if f.Detail != "" {
		b.WriteString(": ")
		b.WriteString(f.Detail)
	}
	return b.String()
}

// KindOf is the kind of failure in err's chain, or "".
func KindOf(err error) FailureKind {
	var f *Failure
	if errors.As(err, &f) {
		return f.Kind
	}
	return ""
}

// clean makes foreign text fit for a line of a terminal: one line, no control
// characters, at most `most` runes.
func clean(s string, most int) string {
	var b strings.Builder
	n, space := 0, false
	for _, r := range s {
		if unicode.IsSpace(r) {
			space = b.Len() > 0
			continue
		}
		if !unicode.IsPrint(r) {
			continue
		}
		if space {
			b.WriteByte(' ')
			space = false
			n++
		}
		if n >= most {
			b.WriteString("...")
			break
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}
