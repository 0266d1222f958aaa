// Package upstream is the only package that opens connections. Everything that
// leaves passes its Gate, which can be shut (local-only), holds back what is
// private and what the Budget has no room for, and lists every call in the
// Ledger before it leaves.
package upstream

import (
	"bytes"
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
	"crayon/internal/privacy"
)

// ErrLocalOnly is the cause of every refusal under local-only.
var ErrLocalOnly = errors.New("local-only: nothing may leave")

// Options of a Gate.
type Options struct {
	LocalOnly     bool             // refuse every dial and child process, loopback too
	Ledger        *Ledger          // where calls are listed; nil lists nothing (tests)
	Bodies        bool             // keep the bodies beside the ledger
	Budget        *Budget          // what may be spent; nil: no limits, nothing counted
	Privacy       *privacy.Scanner // what must stay; nil is privacy.Default
	Tainted       string           // file of the conversations that must stay; "": those of this gate alone
	DialTimeout   time.Duration    // to connect and for the TLS handshake; 0 means 10 s
	HeaderTimeout time.Duration    // from the request sent to its response header; 0 means no limit but the context's
}

// Gate is what every call passes. Safe for concurrent use.
type Gate struct {
	localOnly bool
	ledger    *Ledger
	bodies    bool
	budget    *Budget
	privacy   *privacy.Scanner
	taint     taints
	base      *http.Transport
}

// New makes a gate. Its local-only state never changes.
func New(o Options) *Gate {
	if o.DialTimeout == 0 {
		o.DialTimeout = 10 * time.Second
	}
	g := &Gate{localOnly: o.LocalOnly, ledger: o.Ledger, bodies: o.Bodies && o.Ledger != nil, budget: o.Budget, privacy: o.Privacy, taint: taints{path: o.Tainted}}
	if g.privacy == nil {
		g.privacy = privacy.Default()
	}
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

func digestOf(data []byte) string {
	d := sha256.Sum256(data)
	return hex.EncodeToString(d[:])
}

func refusal(op, path string) error {
	return &fault.Error{Op: op, Path: path, Err: ErrLocalOnly, Hint: "leave --local-only out, or unset CRAYON_LOCAL_ONLY", Exit: fault.ExitRefused}
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
	case errors.Is(err, errTooMany):
		return errTooMany.Error()
	case strings.Contains(err.Error(), "malformed HTTP"):
		return "not an HTTP answer"
	case strings.Contains(err.Error(), "response headers exceeded"):
		return "headers too large"
	}
	return fmt.Sprintf("failed (%T)", err)
}

// tally counts and digests a body.
type tally struct {
	mu   sync.Mutex
	n    int64
	sum  hash.Hash
	kept *bytes.Buffer // what passed; nil: nothing is kept
}

func (t *tally) add(p []byte) {
	if len(p) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n += int64(len(p))
	t.sum.Write(p)
	if t.kept != nil && t.kept.Len()+len(p) <= maxAnswerBody {
		t.kept.Write(p)
	}
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
	meter *meter // nil: tokens are not counted
	once  sync.Once
	done  func(error) error
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.tally.add(p[:n])
	if kept, merr := b.meter.write(p[:n]); merr != nil {
		n, err = kept, merr
	}
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
