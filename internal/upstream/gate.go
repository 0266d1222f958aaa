// Package upstream is the only package that opens connections. Everything that
// leaves passes its Gate, which can be shut (local-only) and which lists every
// call in the Ledger before it leaves.
package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"crayon/internal/fault"
)

// ErrLocalOnly is the cause of every refusal under local-only.
var ErrLocalOnly = errors.New("local-only: nothing may leave")

// Options of a Gate.
type Options struct {
	LocalOnly     bool          // refuse every dial and child process, loopback too
	Ledger        *Ledger       // where calls are listed; nil lists nothing (tests)
	DialTimeout   time.Duration // to connect and for the TLS handshake; 0 means 10 s
	HeaderTimeout time.Duration // from the request sent to its response header; 0 means no limit but the context's
}

// Gate is what every call passes. Safe for concurrent use.
type Gate struct {
	localOnly bool
	ledger    *Ledger
	base      *http.Transport
}

// New makes a gate. Its local-only state never changes.
func New(o Options) *Gate {
	if o.DialTimeout == 0 {
		o.DialTimeout = 10 * time.Second
	}
	g := &Gate{localOnly: o.LocalOnly, ledger: o.Ledger}
	dialer := &net.Dialer{Timeout: o.DialTimeout, KeepAlive: 30 * time.Second}
	g.base = &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		// Checked here too, at the last place before a socket or a name
		// look-up, so that no way around RoundTrip leads out.
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if g.localOnly {
				return nil, refusal("dial", addr)
			}
			return dialer.DialContext(ctx, network, addr)
		},
		TLSHandshakeTimeout:    o.DialTimeout,
		ResponseHeaderTimeout:  o.HeaderTimeout,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
	return g
}

// LocalOnly says whether the gate is shut.
func (g *Gate) LocalOnly() bool { return g.localOnly }

// Close ends idle connections.
func (g *Gate) Close() { g.base.CloseIdleConnections() }

// Client returns a client whose every request, each hop of a redirect too, is
// checked and put into the ledger under purpose ("chat", "pull"). It has no
// timeout of its own: give requests a context. It follows up to ten redirects,
// never from https to http.
func (g *Gate) Client(purpose string) *http.Client {
	return &http.Client{Transport: &roundTripper{g, purpose}, CheckRedirect: checkRedirect}
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("more than 10 redirects")
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("redirect from https to " + req.URL.Scheme)
	}
	return nil
}

type whyKey struct{}

// WithWhy notes in ctx why a call is made; the ledger shows it.
func WithWhy(ctx context.Context, why string) context.Context {
	return context.WithValue(ctx, whyKey{}, why)
}

func whyOf(ctx context.Context) string {
	s, _ := ctx.Value(whyKey{}).(string)
	return s
}

func refusal(op, path string) error {
	return &fault.Error{Op: op, Path: path, Err: ErrLocalOnly, Hint: "leave --local-only out, or unset CRAYON_LOCAL_ONLY", Exit: fault.ExitRefused}
}

type roundTripper struct {
	g       *Gate
	purpose string
}

func (t *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	e := Entry{Purpose: t.purpose, Kind: KindHTTP, Host: req.URL.Host, Method: req.Method, Path: bare(req.URL), Why: whyOf(req.Context())}
	closeBody := func() {
		if req.Body != nil {
			req.Body.Close()
		}
	}
	if t.g.localOnly {
		closeBody()
		err := refusal("dial", req.URL.Host)
		if lerr := t.g.ledger.refused(e, ErrLocalOnly.Error()); lerr != nil {
			err = errors.Join(err, lerr)
		}
		return nil, err
	}
	// What can't be listed does not leave.
	call, err := t.g.ledger.begin(e)
	if err != nil {
		closeBody()
		return nil, err
	}
	out := &tally{sum: sha256.New()}
	clone := req.Clone(req.Context())
	if req.Body != nil && req.Body != http.NoBody {
		clone.Body = &countedBody{ReadCloser: req.Body, tally: out}
		if req.GetBody != nil {
			clone.GetBody = func() (io.ReadCloser, error) {
				b, err := req.GetBody()
				if err != nil {
					return nil, err
				}
				out.restart()
				return &countedBody{ReadCloser: b, tally: out}, nil
			}
		}
	}
	resp, err := t.g.base.RoundTrip(clone)
	if err != nil {
		lerr := call.end(Entry{Out: out.bytes(), OutSHA256: out.digest(), Error: reason(err)})
		return nil, errors.Join(err, lerr)
	}
	in := &tally{sum: sha256.New()}
	resp.Body = &countedBody{ReadCloser: resp.Body, tally: in, done: func(err error) error {
		end := Entry{Status: resp.StatusCode, Out: out.bytes(), OutSHA256: out.digest(), In: in.bytes(), InSHA256: in.digest()}
		if err != nil {
			end.Error = reason(err)
		}
		return call.end(end)
	}}
	return resp, nil
}

// bare is a URL's path with the names of its query but not their values, which
// may be secrets (signed addresses).
func bare(u *url.URL) string {
	p := u.EscapedPath()
	if u.RawQuery != "" {
		names := make([]string, 0, 4)
		for k := range u.Query() {
			names = append(names, url.QueryEscape(k)+"=*")
		}
		sort.Strings(names)
		p += "?" + strings.Join(names, "&")
	}
	const most = 512
	if len(p) > most {
		p = p[:most]
	}
	return p
}

// reason is an error as the ledger shows it: its kind, never an address with
// its query.
func reason(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.As(err, &dns):
		return "name not found"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "cut"
	case errors.As(err, &op):
		return op.Op + " failed"
	// net/http tells these apart by text alone.
	case strings.Contains(err.Error(), "malformed HTTP"):
		return "not an HTTP answer"
	case strings.Contains(err.Error(), "response headers exceeded"):
		return "headers too large"
	}
	return fmt.Sprintf("failed (%T)", err)
}

// tally counts and digests a body.
type tally struct {
	mu  sync.Mutex
	n   int64
	sum hash.Hash
}

func (t *tally) add(p []byte) {
	if len(p) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n += int64(len(p))
	t.sum.Write(p)
}

// restart begins the digest anew for a body sent again; the bytes add up.
func (t *tally) restart() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Reset()
}

func (t *tally) bytes() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

func (t *tally) digest() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == 0 {
		return ""
	}
	return hex.EncodeToString(t.sum.Sum(nil))
}

// countedBody tallies what is read and calls done once, at its end or at
// Close, with what ended it (nil for a whole body or one closed early).
type countedBody struct {
	io.ReadCloser
	tally *tally
	once  sync.Once
	done  func(error) error
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.tally.add(p[:n])
	if err != nil {
		cause := err
		if err == io.EOF {
			cause = nil
		}
		if lerr := b.finish(cause); lerr != nil {
			return n, lerr
		}
	}
	return n, err
}

func (b *countedBody) Close() error {
	err := b.ReadCloser.Close()
	return errors.Join(err, b.finish(nil))
}

func (b *countedBody) finish(cause error) (err error) {
	b.once.Do(func() {
		if b.done != nil {
			err = b.done(cause)
		}
	})
	return err
}
