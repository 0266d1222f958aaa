package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"crayon/internal/fault"
)

// What a pool's server and its clients agree on.
const (
	PoolMedia  = "application/octet-stream"
	PoolDigest = "X-Crayon-Digest" // header of an answer: the sha256 of its body, hex
	PoolHead   = "/pool/head"      // path of the head, under the base address
	PoolBlends = "/pool/"          // and of a pool's blend: PoolBlends + its digest + "/blend"
)

const purposePool = "pool"

// PoolOptions say where the sides of a pool are.
type PoolOptions struct {
	URL     string        // as http://host:8323; the path is /v1 if there is none
	Key     string        // bearer key; "" for none
	Timeout time.Duration // longest wait for a whole answer; 0: 2 min
	Wait    time.Duration // longest that a server may ask to be left alone before another try; 0: 10 s
}

// PoolServer is a pool whose sides are on a server. What it is asked holds
// weights of the pool's members in thousandths and nothing else of the user's.
type PoolServer struct {
	client *http.Client
	base   *url.URL
	opt    PoolOptions
}

// poolTries is how often a server is asked that fails in ways that pass.
const poolTries = 3

// NewPoolServer checks the options. Nothing is dialled.
func NewPoolServer(g *Gate, o PoolOptions) (*PoolServer, error) {
	base, err := baseURL(o.URL)
	if err != nil {
		return nil, &fault.Error{Op: "pool server", Path: hide(o.URL), Err: err, Hint: "--pool-url http://127.0.0.1:8323", Exit: fault.ExitUsage}
	}
	if strings.ContainsFunc(o.Key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, &fault.Error{Op: "pool server", Path: base.Host, Err: errors.New("the key has characters that a key can't have"), Hint: "set CRAYON_POOL_SERVER_KEY", Exit: fault.ExitUsage}
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Minute
	}
	if o.Wait == 0 {
		o.Wait = 10 * time.Second
	}
	s := &PoolServer{client: g.Client(purposePool), base: base, opt: o}
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return s, nil
}

// URL is the base address.
func (s *PoolServer) URL() string { return s.base.String() }

// Head is the pool without its sides, at most limit bytes, and its sha256; nil
// if have, the sha256 of one that is here ("" for none), is the one it gives.
func (s *PoolServer) Head(ctx context.Context, have string, limit int64) (data []byte, digest string, err error) {
	data, digest, err = s.ask(WithWhy(ctx, "head of the pool"), http.MethodGet, PoolHead, nil, have, limit)
	var f *Failure
	if have != "" && errors.As(err, &f) && f.Status == http.StatusNotModified {
		return nil, have, nil
	}
	return data, digest, err
}

// Blend is the adapter, at most limit bytes, that the blended members of a pool
// make under weights of 0 to 1, and its sha256. The weights, to three decimals,
// are all that the request says; the ledger lists them.
func (s *PoolServer) Blend(ctx context.Context, pool string, weights []float32, limit int64) (data []byte, digest string, err error) {
	body, told, err := poolRequest(weights)
	if err != nil {
		return nil, "", err
	}
	return s.ask(WithWhy(ctx, told), http.MethodPost, PoolBlends+url.PathEscape(pool)+"/blend", body, "", limit)
}

// poolRequest is the body for weights, as long for one user as for another, and
// what the ledger says of it.
func poolRequest(weights []float32) (body []byte, told string, err error) {
	numbers := make([]string, len(weights))
	for i, w := range weights {
		if !(w >= 0 && w <= 1) || math.Signbit(float64(w)) {
			return nil, "", &fault.Error{Op: "ask pool server", Err: fmt.Errorf("a weight of %g: 0 to 1 can be asked for", w), Exit: fault.ExitUsage}
		}
		numbers[i] = fmt.Sprintf("%.3f", w)
	}
	body = []byte(`{"weights":[` + strings.Join(numbers, ",") + `]}`)
	return body, fmt.Sprintf("%d weights: %s", len(weights), strings.Join(numbers, " ")), nil
}

// ask is one request, again while it fails in a way that passes: it changes
// nothing there.
func (s *PoolServer) ask(ctx context.Context, method, path string, body []byte, have string, limit int64) (data []byte, digest string, err error) {
	for n := 1; ; n++ {
		data, digest, err = s.once(ctx, method, path, body, have, limit)
		var f *Failure
		if err == nil || n == poolTries || !errors.As(err, &f) || f.Kind != RateLimited && f.Kind != Overloaded && f.Kind != Dead || f.RetryAfter > s.opt.Wait {
			break
		}
		wait := max(f.RetryAfter, min(s.opt.Wait, 300*time.Millisecond<<n))
		t := time.NewTimer(wait/2 + rand.N(wait/2+1) + f.RetryAfter/2)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, "", ctx.Err()
		}
	}
	return data, digest, s.fault(err)
}

func (s *PoolServer) once(parent context.Context, method, path string, body []byte, have string, limit int64) ([]byte, string, error) {
	ctx, cancel := context.WithTimeoutCause(parent, s.opt.Timeout, errSlow)
	defer cancel()
	u := *s.base
	u.Path = strings.TrimRight(u.Path, "/") + path
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if have != "" {
		req.Header.Set("If-None-Match", `"`+have+`"`)
	}
	if s.opt.Key != "" {
		req.Header.Set("Authorization", "Bearer "+s.opt.Key)
	}
	client := *s.client
	client.Transport = &guard{next: client.Transport, accept: PoolMedia, limit: limit, scrub: s.scrub}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", classify(ctx, parent, err, false, s.scrub)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, "", classify(ctx, parent, err, true, s.scrub)
	}
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	switch said := resp.Header.Get(PoolDigest); {
	case said == "":
		return nil, "", &Failure{Kind: Nonsense, Status: resp.StatusCode, Detail: "it does not say the sha256 of its answer (" + PoolDigest + ")"}
	case said != digest:
		return nil, "", &Failure{Kind: Nonsense, Status: resp.StatusCode, Detail: fmt.Sprintf("its answer has the sha256 %.12s, and it says %s", digest, s.scrub(said[:min(len(said), 12)]))}
	}
	return data, digest, nil
}

func (s *PoolServer) scrub(text string) string {
	if k := s.opt.Key; k != "" {
		text = strings.ReplaceAll(text, k, "[key]")
	}
	return clean(text, 200)
}

// fault puts the place and the mending hint around a failure.
func (s *PoolServer) fault(err error) error {
	var told *fault.Error
	if err == nil || errors.As(err, &told) || errors.Is(err, context.Canceled) {
		return err
	}
	hint := "is this the address of `crayon pool serve`?"
	switch KindOf(err) {
	case Dead:
		hint = "check that `crayon pool serve` runs there"
	case Slow, RateLimited, Overloaded, Cut:
		hint = "try again later"
	case Unauthorized:
		hint = "set CRAYON_POOL_SERVER_KEY"
	}
	return &fault.Error{Op: "ask pool server", Path: s.base.Host, Err: err, Hint: hint}
}
