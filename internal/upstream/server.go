package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"crayon/internal/fault"
	"crayon/internal/privacy"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
)

// ServerOptions say which server answers and how long it may take.
type ServerOptions struct {
	URL     string           // base of an OpenAI-compatible API; without a path, /v1 is added
	Key     string           // bearer key; "" sends none. Never printed
	Model   string           // model name; "" asks the server for its first one
	Timeout time.Duration    // for a whole answer, or to a stream's first piece; 0 means 60 s
	Idle    time.Duration    // longest silence inside a stream; 0 means 30 s
	Retries int              // further attempts before the first byte; negative means none, 0 means 2
	MaxWait time.Duration    // longest Retry-After that is waited for; 0 means 20 s
	MaxBody int64            // most bytes of a response; 0 means 16 MiB
	Context int              // most tokens it takes, with the answer; 0 is not known
	Price   *Price           // nil is not known: refused where money is limited
	Now     func() time.Time // for its health; nil is time.Now
}

// Server is the larger LLM, behind the gate. Safe for concurrent use.
type Server struct {
	gate  *Gate
	opt   ServerOptions
	base  *url.URL
	plain openai.ChatCompletionService
	sse   openai.ChatCompletionService
	list  openai.ModelService

	breaker breaker

	mu    sync.Mutex
	model string
}

// NewServer checks the options; it dials nothing.
func NewServer(g *Gate, o ServerOptions) (*Server, error) {
	base, err := baseURL(o.URL)
	if err != nil {
		return nil, &fault.Error{Op: "use server", Path: hide(o.URL), Err: err, Hint: "export CRAYON_SERVER_URL=https://HOST/v1", Exit: fault.ExitUsage}
	}
	if strings.ContainsFunc(o.Key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, &fault.Error{Op: "use server", Path: base.Host, Err: errors.New("the key has characters a key can't have (spaces, line ends)"), Hint: "set CRAYON_SERVER_KEY_FILE to a file with the key alone", Exit: fault.ExitUsage}
	}
	or := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	or(&o.Timeout, 60*time.Second)
	or(&o.Idle, 30*time.Second)
	or(&o.MaxWait, 20*time.Second)
	if o.Retries == 0 {
		o.Retries = 2
	}
	o.Retries = max(o.Retries, 0)
	if o.MaxBody == 0 {
		o.MaxBody = 16 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if p := o.Price; p != nil && !(p.In >= 0 && p.Out >= 0 && p.In <= maxPrice && p.Out <= maxPrice) {
		return nil, &fault.Error{Op: "use server", Path: base.Host, Err: fmt.Errorf("prices %g and %g", p.In, p.Out), Hint: "prices of a million tokens, 0 or more", Exit: fault.ExitUsage}
	}
	if o.Price == nil && g.budget.limitsMoney() {
		return nil, &fault.Error{Op: "use server", Path: base.Host, Err: errors.New("money is limited, and its price is not known"), Hint: "set server.price_in and server.price_out, which may be 0", Exit: fault.ExitUsage}
	}
	s := &Server{gate: g, opt: o, base: base, model: o.Model, breaker: breaker{now: o.Now}}
	// The services are made without openai.NewClient, which would take a key
	// and an address from the OPENAI_* environment.
	with := func(accept string) []option.RequestOption {
		client := g.Client(purposeChat)
		client.Transport = &guard{next: client.Transport, accept: accept, limit: o.MaxBody, scrub: s.scrub}
		// A prompt goes to the address that was set and to no other.
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		opts := []option.RequestOption{option.WithHTTPClient(client), option.WithBaseURL(base.String()), option.WithMaxRetries(0)}
		if o.Key != "" {
			opts = append(opts, option.WithAPIKey(o.Key))
		}
		return opts
	}
	s.plain = openai.NewChatCompletionService(with("application/json")...)
	s.sse = openai.NewChatCompletionService(with("text/event-stream")...)
	s.list = openai.NewModelService(with("application/json")...)
	return s, nil
}

func baseURL(s string) (*url.URL, error) {
	if s == "" {
		return nil, errors.New("no address")
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("not an address")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("scheme %q: want http or https", u.Scheme)
	case u.Host == "":
		return nil, errors.New("no host")
	case u.User != nil:
		return nil, errors.New("the address holds a user or password; use the key")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the address holds a query")
	}
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/chat/completions")
	if u.Path == "" {
		u.Path = "/v1"
	}
	return u, nil
}

// hide is an address fit to be shown: without user and query.
func hide(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// URL is the base address.
func (s *Server) URL() string { return s.base.String() }

// scrub takes the key out of foreign text and makes it fit to be shown.
func (s *Server) scrub(text string) string {
	if k := s.opt.Key; k != "" {
		text = strings.ReplaceAll(text, k, "[key]")
		text = strings.ReplaceAll(text, url.QueryEscape(k), "[key]")
	}
	return clean(text, 200)
}

// Message is a turn of a conversation.
type Message struct {
	Role    string // system, developer, user, assistant
	Content string
}

// Request is one question to the server.
type Request struct {
	Messages    []Message
	Model       string   // "" is the server's
	MaxTokens   int      // 0 leaves it to the server
	Temperature *float64 // nil leaves it to the server
	TopP        *float64
	Seed        *int64
	Stop        []string // at most 4
	Why         string   // for the ledger: the routing reason

	Key          string // name of the client's key, which the budget counts it under; never the key
	Conversation string // its id, if the client gives one; once private, it stays so
	Private      bool   // tagged so: it does not leave

	// Body, if set, is a chat request as a client made it, with tools, response
	// format and all: it leaves as it is but for model, stream, the usage that a
	// stream ends with, and where the budget needs one, max_tokens. No field of
	// it may be there twice. Of the fields above only Model, Why, Key,
	// Conversation and Private count then.
	Body json.RawMessage
}

// Usage counts tokens as the server counts them; zero when it does not say.
type Usage struct{ Prompt, Completion, Total int64 }

// Reply is an answer.
type Reply struct {
	Text         string
	FinishReason string // stop, length, content_filter, ...
	Model        string // as the server names it
	ID           string
	Usage        Usage
	Attempts     int             // requests made, retries included
	FirstByte    time.Duration   // from the call to the first piece of text
	Took         time.Duration   // from the call to the end
	Raw          json.RawMessage // the whole answer as the server gave it, for a Request with a Body
}

func (s *Server) params(model string, r Request) (openai.ChatCompletionNewParams, error) {
	p := openai.ChatCompletionNewParams{Model: model}
	for i, m := range r.Messages {
		switch m.Role {
		case "system":
			p.Messages = append(p.Messages, openai.SystemMessage(m.Content))
		case "developer":
			p.Messages = append(p.Messages, openai.DeveloperMessage(m.Content))
		case "user":
			p.Messages = append(p.Messages, openai.UserMessage(m.Content))
		case "assistant":
			p.Messages = append(p.Messages, openai.AssistantMessage(m.Content))
		default:
			return p, &fault.Error{Op: "ask server", Path: fmt.Sprintf("messages[%d]", i), Err: fmt.Errorf("role %q", m.Role), Hint: "use system, developer, user or assistant", Exit: fault.ExitUsage}
		}
	}
	if len(p.Messages) == 0 {
		return p, &fault.Error{Op: "ask server", Err: errors.New("no messages"), Exit: fault.ExitUsage}
	}
	if n := s.longest(r); n > 0 {
		// The older name: every compatible server knows it.
		p.MaxTokens = param.NewOpt(int64(n))
	}
	if r.Temperature != nil {
		p.Temperature = param.NewOpt(*r.Temperature)
	}
	if r.TopP != nil {
		p.TopP = param.NewOpt(*r.TopP)
	}
	if r.Seed != nil {
		p.Seed = param.NewOpt(*r.Seed)
	}
	if len(r.Stop) > 0 {
		p.Stop = openai.ChatCompletionNewParamsStopUnion{OfStringArray: r.Stop}
	}
	return p, nil
}

// ready is what a request needs before its first call: it may leave, this
// server can be asked, and the gate knows whose it is. done is to be told how
// it went.
func (s *Server) ready(ctx context.Context, r Request, stream bool) (_ context.Context, p openai.ChatCompletionNewParams, opts []option.RequestOption, undo *privacy.Undo, err error) {
	if r.Body == nil {
		if _, err = s.params("", r); err != nil {
			return ctx, p, nil, nil, err
		}
	}
	if r, undo, err = s.clear(r); err != nil {
		return ctx, p, nil, nil, s.gate.refuse(s.entry(r), err)
	}
	if err = s.able(r, first(ctx)); err != nil {
		return ctx, p, nil, nil, s.notAble(r, err)
	}
	ctx = s.caller(WithWhy(ctx, r.Why), r)
	if err = s.breaker.enter(); err != nil {
		return ctx, p, nil, nil, s.fault(err, "")
	}
	defer func() {
		if err != nil {
			s.breaker.leave(err)
		}
	}()
	model, err := s.modelFor(ctx, r)
	if err != nil {
		return ctx, p, nil, nil, err
	}
	if r.Body == nil {
		p, err = s.params(model, r)
		if stream {
			p.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: param.NewOpt(true)}
		}
		return ctx, p, nil, undo, err
	}
	body, err := s.body(model, r, stream)
	return ctx, p, []option.RequestOption{option.WithRequestBody("application/json", body)}, nil, err
}

// entry is a request that never became a call, as the ledger lists it.
func (s *Server) entry(r Request) Entry {
	return Entry{Purpose: purposeChat, Kind: KindHTTP, Host: s.base.Host, Method: http.MethodPost, Path: s.base.Path + "/chat/completions", Why: r.Why, Key: r.Key}
}

// notAble lists a refusal of the budget; a server that rests or is too small is
// none.
func (s *Server) notAble(r Request, err error) error {
	var over *OverBudget
	if errors.As(err, &over) {
		return s.gate.refuse(s.entry(r), err)
	}
	return err
}

// Complete asks for a whole answer.
func (s *Server) Complete(ctx context.Context, r Request) (reply Reply, err error) {
	start := time.Now()
	ctx, p, opts, undo, err := s.ready(ctx, r, false)
	if err != nil {
		return Reply{}, err
	}
	defer func() { s.breaker.leave(err) }()
	var res *openai.ChatCompletion
	attempts, err := s.attempt(ctx, func(ctx context.Context) error {
		var err error
		if res, err = s.plain.New(ctx, p, opts...); err != nil {
			return err
		}
		if len(res.Choices) == 0 {
			return &Failure{Kind: Nonsense, Detail: "it has no choices"}
		}
		return nil
	})
	if err != nil {
		return Reply{}, err
	}
	c := res.Choices[0]
	text := c.Message.Content
	if text == "" {
		text = c.Message.Refusal
	}
	took := time.Since(start)
	reply = Reply{Text: undo.Text(text), FinishReason: string(c.FinishReason), Model: res.Model, ID: res.ID, Attempts: attempts, FirstByte: took, Took: took,
		Usage: Usage{res.Usage.PromptTokens, res.Usage.CompletionTokens, res.Usage.TotalTokens}}
	if r.Body != nil {
		reply.Raw = json.RawMessage(res.RawJSON())
	}
	return reply, nil
}

// Models asks the server for its models' names.
func (s *Server) Models(ctx context.Context) ([]string, error) {
	var names []string
	_, err := s.attempt(ctx, func(ctx context.Context) error {
		page, err := s.list.List(ctx)
		if err != nil {
			return err
		}
		names = nil
		for _, m := range page.Data {
			names = append(names, m.ID)
		}
		return nil
	})
	return names, err
}

// modelFor is the model a request names, else the one set, else the first one
// the server has, asked once.
func (s *Server) modelFor(ctx context.Context, r Request) (string, error) {
	if r.Model != "" {
		return r.Model, nil
	}
	s.mu.Lock()
	model := s.model
	s.mu.Unlock()
	if model != "" {
		return model, nil
	}
	names, err := s.Models(ctx)
	if err == nil && (len(names) == 0 || names[0] == "") {
		err = s.fault(&Failure{Kind: Nonsense, Detail: "it lists no models"}, "export CRAYON_SERVER_MODEL=NAME")
	}
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.model == "" {
		s.model = names[0]
	}
	return s.model, nil
}

// attempt runs f, under the timeout, again as long as the failure is one that
// passes and nothing was answered yet.
func (s *Server) attempt(ctx context.Context, f func(context.Context) error) (attempts int, err error) {
	for n := 0; ; n++ {
		one, cancel := context.WithTimeoutCause(ctx, s.opt.Timeout, errSlow)
		err := f(one)
		if err != nil {
			err = classify(one, ctx, err, false, s.scrub)
		}
		cancel()
		if err == nil {
			return n + 1, nil
		}
		if !s.again(ctx, n, err) {
			return n + 1, s.fault(err, "")
		}
	}
}

// again says whether attempt n (from 0) is to be followed by another, after
// waiting: what the server asked for, or half a second doubled each time, with
// jitter so that many clients do not come back at once.
func (s *Server) again(ctx context.Context, n int, err error) bool {
	var f *Failure
	if n >= s.opt.Retries || !errors.As(err, &f) {
		return false
	}
	switch f.Kind {
	case Dead, RateLimited, Overloaded:
	default:
		return false // slow: it may be answering, and be paid for; the rest would fail again
	}
	wait := f.RetryAfter
	if wait > s.opt.MaxWait {
		return false
	}
	if wait == 0 {
		wait = min(s.opt.MaxWait, 500*time.Millisecond<<n)
		wait = wait/2 + rand.N(wait/2+1)
	} else {
		wait += rand.N(wait/10 + 1)
	}
	if d, ok := ctx.Deadline(); ok && time.Until(d) < wait {
		return false
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// fault puts the place and the mending hint around a failure.
func (s *Server) fault(err error, hint string) error {
	var told *fault.Error
	if errors.As(err, &told) {
		return err // a refusal, or the ledger
	}
	if hint == "" {
		switch KindOf(err) {
		case Dead, Nonsense, Rejected:
			hint = "check CRAYON_SERVER_URL and CRAYON_SERVER_MODEL: crayon doctor"
		case Slow:
			hint = "set CRAYON_SERVER_TIMEOUT higher"
		case Unauthorized:
			hint = "set CRAYON_SERVER_KEY or CRAYON_SERVER_KEY_FILE"
		case RateLimited, Overloaded, Cut, Rests:
			hint = "try again later"
		case TooLong:
			hint = "shorten the conversation, or set a server with a longer context"
		}
	}
	return &fault.Error{Op: "ask server", Path: s.base.Host, Err: err, Hint: hint}
}
