package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"crayon/internal/fault"
)

// guard stands between the API client and the gate: it turns every response
// that is no answer into a *Failure, bounds bodies, and sends nothing that the
// request does not need.
type guard struct {
	next   http.RoundTripper
	accept string // the media type an answer must have
	limit  int64  // most bytes of a body
	scrub  func(string) string
}

func (t *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	for name := range req.Header {
		// The client library's notes on this machine are nobody's business.
		if strings.HasPrefix(name, "X-Stainless-") {
			req.Header.Del(name)
		}
	}
	// Each sending is counted by itself: none may be repeated unseen.
	req.Header.Del("Idempotency-Key")
	req.Header.Set("User-Agent", "crayon")
	req.Header.Set("Accept", t.accept)
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: t.limit}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return nil, t.failure(resp, text)
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media != t.accept {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return nil, &Failure{Kind: Nonsense, Status: resp.StatusCode,
			Detail: t.scrub(fmt.Sprintf("content type %q, want %s: %s", media, t.accept, text))}
	}
	return resp, nil
}

// failure reads what an error response says: an OpenAI error object, another
// object with a message, or the start of the text.
func (t *guard) failure(resp *http.Response, text []byte) *Failure {
	f := &Failure{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header, time.Now())}
	switch s := resp.StatusCode; {
	case s == http.StatusTooManyRequests:
		f.Kind = RateLimited
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		f.Kind = Unauthorized
	case s >= 500, s == http.StatusRequestTimeout:
		f.Kind = Overloaded
	default:
		f.Kind = Rejected
	}
	var told struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	detail := ""
	if json.Unmarshal(text, &told) == nil {
		var inner struct {
			Message string `json:"message"`
		}
		var plain string
		switch {
		case json.Unmarshal(told.Error, &inner) == nil && inner.Message != "":
			detail = inner.Message
		case json.Unmarshal(told.Error, &plain) == nil && plain != "":
			detail = plain
		case told.Message != "":
			detail = told.Message
		default:
			detail = string(told.Detail)
		}
	}
	if loc := resp.Header.Get("Location"); detail == "" && loc != "" {
		detail = "it redirects, and prompts do not follow redirects"
	}
	if detail == "" {
		detail = string(text[:min(len(text), 200)])
	}
	f.Detail = t.scrub(detail)
	return f
}

// retryAfter reads Retry-After, in seconds or as a date (RFC 9110, 10.2.3);
// 0 when missing, past or no number.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil {
		if s > 0 && s < 1e6 {
			return time.Duration(s * float64(time.Second))
		}
		return 0
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// readError is an error of the transport while a body was read, told apart
// from one of decoding it.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

var errTooLarge = errors.New("more bytes than allowed")

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, &readError{errTooLarge}
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err != nil && err != io.EOF {
		err = &readError{err}
	}
	return n, err
}

// Causes that a call's own timers cancel it with.
var (
	errSlow  = errors.New("no answer in time")
	errStall = errors.New("the stream stalled")
)

// classify makes a *Failure of an error of the API client. The caller's own
// cancellation and refusals of the gate stay what they are.
func classify(ctx context.Context, parent context.Context, err error, begun bool, scrub func(string) string) error {
	var f *Failure
	var read *readError
	var told *fault.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &told):
		return told // the gate's own: local-only, private, over budget, the ledger
	case errors.Is(parent.Err(), context.Canceled):
		return context.Canceled
	case errors.Is(err, errTooLarge):
		return &Failure{Kind: TooLarge}
	case errors.Is(err, errTooMany):
		return &Failure{Kind: TooLarge, Detail: errTooMany.Error()}
	case errors.Is(context.Cause(ctx), errStall):
		return &Failure{Kind: Cut, Detail: errStall.Error()}
	case errors.Is(context.Cause(ctx), errSlow), errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		if begun {
			return &Failure{Kind: Cut, Detail: "out of time"}
		}
		return &Failure{Kind: Slow, Detail: errSlow.Error()}
	case errors.As(err, &read):
		return &Failure{Kind: Cut, Detail: reason(err)}
	case isTransport(err):
		return &Failure{Kind: Dead, Detail: reason(err)}
	}
	return &Failure{Kind: Nonsense, Detail: scrub(err.Error())}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
