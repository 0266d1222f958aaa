package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"crayon/internal/privacy"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"
)

// Stream is an answer as it comes: for st.Next() { st.Delta() }, then st.Err().
// Not safe for concurrent use.
type Stream struct {
	server *Server
	parent context.Context
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	sse    *ssestream.Stream[openai.ChatCompletionChunk]

	start time.Time
	undo  *privacy.Restorer
	raws  *raws // every chunk of a client's own request is told, not text alone; nil for others
	raw   json.RawMessage
	delta string
	last  bool // nothing more is to be read
	held  bool // delta was read ahead and not yet given out
	ended bool
	err   error
	text  strings.Builder
	reply Reply
}

// Stream asks for an answer in pieces. It returns when the first piece that says
// something is there, or the whole answer is empty; every failure before that is
// returned here, so that another can still answer. Close the stream.
func (s *Server) Stream(ctx context.Context, r Request) (_ *Stream, err error) {
	start := time.Now()
	ctx, p, opts, undo, err := s.ready(ctx, r, true)
	if err != nil {
		return nil, err
	}
	defer func() { s.breaker.leave(err) }()
	for n := 0; ; n++ {
		var raw *raws
		if r.Body != nil {
			raw = newRaws(r.Body)
		}
		st := s.open(ctx, p, raw.watch(opts))
		st.start, st.raws, st.undo = start, raw, undo.Stream()
		st.reply.Attempts = n + 1
		st.advance()
		if st.err == nil {
			st.timer.Stop() // until Next waits again
			st.held = !st.ended
			st.reply.FirstByte = time.Since(start)
			return st, nil
		}
		st.Close()
		if !s.again(ctx, n, st.err) {
			return nil, s.fault(st.err, "")
		}
	}
}

func (s *Server) open(parent context.Context, p openai.ChatCompletionNewParams, opts []option.RequestOption) *Stream {
	ctx, cancel := context.WithCancelCause(parent)
	st := &Stream{server: s, parent: parent, ctx: ctx, cancel: cancel}
	st.timer = time.AfterFunc(s.opt.Timeout, func() { cancel(errSlow) })
	st.sse = s.sse.NewStreaming(ctx, p, opts...)
	return st
}

// Next waits for the next piece: of text, or for a Request with a Body any chunk
// that its client is to be told. It is false at the end and on failure.
func (st *Stream) Next() bool {
	if st.held {
		st.held = false
		return true
	}
	if st.ended || st.err != nil {
		return false
	}
	st.timer.Reset(st.server.opt.Idle)
	st.advance()
	st.timer.Stop() // who takes the piece may take his time
	if st.err != nil {
		st.server.breaker.leave(st.err) // a stream that breaks off is a failure too
		st.err = st.server.fault(st.err, "")
	}
	return !st.ended && st.err == nil
}

// Delta is the piece of text that Next found, of the first answer; "" for a chunk
// without any.
func (st *Stream) Delta() string { return st.delta }

// Raw is the chunk that Next found as the server gave it, whatever it holds, for a
// Request with a Body; nil for others. The usage that ends a stream is told only
// if the body asks for it.
func (st *Stream) Raw() json.RawMessage { return st.raw }

// Err is the failure that ended the stream, nil after a whole answer. A stream
// that broke off has a *Failure of kind Cut.
func (st *Stream) Err() error { return st.err }

// Reply is the answer so far; whole when Next has returned false without Err.
func (st *Stream) Reply() Reply {
	r := st.reply
	r.Text = st.text.String()
	return r
}

// Close gives the connection back. It may be called at any time, and again.
func (st *Stream) Close() error {
	st.timer.Stop()
	st.cancel(nil)
	st.held, st.ended = false, true
	return st.sse.Close()
}

// advance reads to the next chunk with text, or to the end.
func (st *Stream) advance() {
	if st.raws != nil {
		st.advanceRaw()
		return
	}
	begun := st.text.Len() > 0
	for !st.last && st.sse.Next() {
		if begun {
			st.timer.Reset(st.server.opt.Idle)
		}
		if text := st.undo.Write(st.take(st.sse.Current())); text != "" {
			st.delta = text
			st.text.WriteString(text)
			return
		}
	}
	if rest := st.undo.Flush(); rest != "" {
		// What looked like a placeholder's beginning, and was none.
		st.delta, st.last = rest, true
		st.text.WriteString(rest)
		return
	}
	st.end(st.reply.FinishReason != "", begun)
}

// take notes what a chunk says of the reply, and gives its text.
func (st *Stream) take(chunk openai.ChatCompletionChunk) (text string) {
	if chunk.ID != "" && st.reply.ID == "" {
		st.reply.ID = chunk.ID
	}
	if chunk.Model != "" && st.reply.Model == "" {
		st.reply.Model = chunk.Model
	}
	if u := chunk.Usage; u.TotalTokens > 0 {
		st.reply.Usage = Usage{u.PromptTokens, u.CompletionTokens, u.TotalTokens}
	}
	for _, c := range chunk.Choices {
		if c.Index != 0 {
			continue
		}
		if c.FinishReason != "" {
			st.reply.FinishReason = c.FinishReason
		}
		if c.Delta.Content != "" {
			text += c.Delta.Content
		} else {
			text += c.Delta.Refusal
		}
	}
	return text
}

// end closes an answer of which nothing more comes.
func (st *Stream) end(whole, begun bool) {
	st.timer.Stop()
	st.reply.Took = time.Since(st.start)
	err := st.sse.Err()
	switch {
	case whole:
		// The answer was whole; what broke after it harms nobody.
		st.ended = true
	case err != nil:
		if begun && errors.Is(context.Cause(st.ctx), errSlow) {
			err = errStall
		}
		st.err = st.classify(err, begun)
	default:
		// The connection ended in good order, but nothing said the answer did.
		st.err = &Failure{Kind: Cut, Detail: "it ended without a finish reason"}
	}
}

func (st *Stream) classify(err error, begun bool) error {
	var told *ssestream.StreamError
	switch {
	case errors.Is(err, errStall):
		return &Failure{Kind: Cut, Detail: errStall.Error()}
	case errors.As(err, &told):
		return &Failure{Kind: Overloaded, Detail: st.server.scrub(told.Message)}
	}
	f := classify(st.ctx, st.parent, err, begun, st.server.scrub)
	if begun && KindOf(f) == Nonsense {
		return &Failure{Kind: Cut, Detail: f.(*Failure).Detail}
	}
	return f
}

// isTransport says whether an error is of the connection rather than of what
// came over it.
func isTransport(err error) bool {
	var u *url.Error
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &u) || errors.As(err, &op) || errors.As(err, &dns)
}
