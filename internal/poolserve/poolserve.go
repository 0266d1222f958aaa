// Package poolserve is a pool on a server: it gives devices the pool's head, by
// which they weigh its members themselves, and blends one adapter for weights.
// It keeps nothing of a request, so that any number of copies behind any load
// balancer serve many devices.
package poolserve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"

	"golang.org/x/sync/semaphore"

	"crayon/internal/adapter"
	"crayon/internal/gguf"
	"crayon/internal/pool"
	"crayon/internal/server"
	"crayon/internal/upstream"
)

// Bounds of what a client may ask for.
const (
	maxBlends = 4   // in the making at once; further clients are told to come back
	maxRank   = 256 // rows of one blend
	perWeight = 6   // bytes of a weight in a request, its comma included
	perBody   = 256 // bytes of a request besides
)

// Options of New.
type Options struct {
	Pool           *pool.Pool        // with its sides; must be set
	Key            string            // bearer key; "" asks for none, and then only loopback is listened on
	Keys           map[string]string // further bearer keys, by their clients' names
	AllowedHosts   []string          // further names a request may call this host
	AllowedOrigins []string          // web pages that may ask
	Log            *slog.Logger      // one line a request, without its weights; nil logs nothing
}

// Server answers for one pool. Safe for concurrent use.
type Server struct {
	pool   *pool.Pool
	head   []byte
	digest string // of head
	blends *semaphore.Weighted
	door   *server.Server
}

// New readies the head.
func New(o Options) (*Server, error) {
	s := &Server{pool: o.Pool, blends: semaphore.NewWeighted(maxBlends)}
	var err error
	if s.head, err = o.Pool.Head(); err != nil {
		return nil, err
	}
	s.digest = sum(s.head)
	s.door, err = server.NewPlain("crayon pool serve",
		server.Options{Key: o.Key, Keys: o.Keys, AllowedHosts: o.AllowedHosts, AllowedOrigins: o.AllowedOrigins, Log: o.Log},
		server.Route{Method: "GET", Path: "/v1/pool", Answer: s.card},
		server.Route{Method: "GET", Path: "/v1" + upstream.PoolHead, Answer: s.getHead},
		server.Route{Method: "POST", Path: "/v1" + upstream.PoolBlends + "{pool}/blend", Answer: s.blend},
		server.Route{Method: "GET", Path: "/healthz", Answer: s.health})
	return s, err
}

// Handler answers requests made to a loopback name or an allowed host.
func (s *Server) Handler() http.Handler { return s.door.Handler() }

// ListenAndServe answers at addr until ctx is done; see server.Server.
func (s *Server) ListenAndServe(ctx context.Context, addr string, ready func(addr string)) error {
	return s.door.ListenAndServe(ctx, addr, ready)
}

func sum(data []byte) string {
	d := sha256.Sum256(data)
	return hex.EncodeToString(d[:])
}

// card says what pool this is.
func (s *Server) card(w http.ResponseWriter, _ *http.Request) error {
	p := s.pool
	var names []string
	for _, i := range p.Blended() {
		names = append(names, p.Members[i].Name)
	}
	return server.WriteJSON(w, http.StatusOK, map[string]any{
		"name": p.Name, "pool": p.Digest(), "bytes": p.Size(), "head": s.digest, "head_bytes": len(s.head),
		"base": p.Base.Name, "lineage": p.Base.Lineage, "blended": names, "keep": p.Keep, "licence": p.Made.Licence,
	})
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	return server.WriteJSON(w, http.StatusOK, map[string]any{"status": "ok", "pool": s.pool.Digest()})
}

// getHead gives the pool without its sides.
func (s *Server) getHead(w http.ResponseWriter, r *http.Request) error {
	tag := `"` + s.digest + `"`
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return send(w, s.head, s.digest)
}

// send answers with a file. A client that left is not told apart from one that reads.
func send(w http.ResponseWriter, data []byte, digest string) error {
	h := w.Header()
	h.Set("Content-Type", upstream.PoolMedia)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set(upstream.PoolDigest, digest)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(data)
	return nil
}

// blend gives the one adapter that weights of the blended members make, the
// shared ones at 1.
func (s *Server) blend(w http.ResponseWriter, r *http.Request) error {
	if got := r.PathValue("pool"); got != s.pool.Digest() {
		return &server.HTTPError{Status: http.StatusConflict, Code: "another_pool", Message: fmt.Sprintf("this server has the pool %.12s, not %.12q", s.pool.Digest(), got)}
	}
	blended := s.pool.Blended()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(perBody+perWeight*len(blended))))
	if err != nil {
		return &server.HTTPError{Status: http.StatusBadRequest, Message: "the request is larger than weights are, or broke off", Err: err}
	}
	weights, err := parse(body, len(blended))
	if err != nil {
		return err
	}
	members := s.pool.All(weights, 1)
	rank := 0
	for i, m := range s.pool.Members {
		if members[i] != 0 {
			rank += m.Rank
		}
	}
	if rank == 0 || rank > maxRank {
		return &server.HTTPError{Status: http.StatusBadRequest, Param: "weights", Message: fmt.Sprintf("adapters of rank %d in all are asked for; 1 to %d are given", rank, maxRank)}
	}
	if !s.blends.TryAcquire(1) {
		w.Header().Set("Retry-After", "1")
		return &server.HTTPError{Status: http.StatusTooManyRequests, Code: "busy", Message: "other devices' adapters are being blended; come back"}
	}
	data, err := Blend(s.pool, members)
	s.blends.Release(1)
	if err != nil {
		return err
	}
	return send(w, data, sum(data))
}

// decimal is how a weight is written: 0 to 1 in thousandths, so that a request
// has no room for anything else.
var decimal = regexp.MustCompile(`^(0\.[0-9]{3}|1\.000)$`)

func parse(body []byte, n int) ([]float32, error) {
	bad := func(format string, args ...any) ([]float32, error) {
		return nil, &server.HTTPError{Status: http.StatusBadRequest, Param: "weights", Message: fmt.Sprintf(format, args...)}
	}
	var req struct {
		Weights []json.RawMessage `json:"weights"`
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return bad("want {\"weights\":[0.000,...]}")
	}
	if len(req.Weights) != n {
		return bad("%d weights; the pool has %d blended members", len(req.Weights), n)
	}
	out := make([]float32, n)
	for i, raw := range req.Weights {
		if !decimal.Match(raw) {
			return bad("weight %d: want 0.000 to 1.000, with three decimals", i+1)
		}
		x, err := strconv.ParseFloat(string(raw), 32)
		if err != nil {
			return bad("weight %d: no number", i+1)
		}
		out[i] = float32(x)
	}
	return out, nil
}

// Blend is the adapter that one weight a member makes, as a GGUF file: the rows
// of the members of weight other than 0, their weights folded in, in half
// precision. Equal weights give equal bytes.
func Blend(p *pool.Pool, members []float32) ([]byte, error) {
	stack, weights := p.Stack.Keep(members)
	a := stack.Merge(weights, "blend of "+p.Name)
	a.Base = p.Base.Name
	return adapter.BytesGGUF(a, p.Base.Shape, gguf.F16)
}
