package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/chzyer/readline"

	"crayon"
	"crayon/internal/paint"
	"crayon/internal/store"
)

const chatHelp = `  /help      this list
  /base      the bare base model, or back to the customisation
  /compare   answer twice, base and customised side by side, or stop that
  /why       every number behind the last decision
  /clear     forget the conversation
  /quit      leave (Ctrl-D too); Ctrl-C stops an answer
`

// chat is a conversation at the terminal.
type chat struct {
	*app
	c       *crayon.Crayon
	custom  *crayon.Customisation
	o       runOptions
	bare    *crayon.Session
	own     *crayon.Session // nil without a customisation
	last    *crayon.Answer
	history string
}

var errQuit = errors.New("quit")

// chat reads questions line by line until /quit or the end of input.
func (a *app) chat(ctx context.Context, c *crayon.Crayon, custom *crayon.Customisation, o runOptions) error {
	t := &chat{app: a, c: c, custom: custom, o: o, bare: c.Session(nil), history: filepath.Join(c.Paths().Data, "history")}
	if custom != nil {
		t.own = c.Session(custom)
	} else {
		t.o.base = true
		t.o.compare = false
	}
	line, err := readline.NewEx(&readline.Config{Prompt: t.prompt(), InterruptPrompt: "^C", EOFPrompt: "", DisableAutoSaveHistory: true, Stderr: a.err,
		AutoComplete: readline.NewPrefixCompleter(readline.PcItem("/help"), readline.PcItem("/base"), readline.PcItem("/compare"), readline.PcItem("/why"), readline.PcItem("/clear"), readline.PcItem("/quit"))})
	if err != nil {
		return err
	}
	defer line.Close()
	for _, old := range t.readHistory() {
		line.SaveHistory(old)
	}
	fmt.Fprintln(a.out, paint.For(a.out).Dim("/help lists the commands, /quit leaves"))
	a.signals() // from here on Ctrl-C stops an answer, not the program
	ctx = context.WithoutCancel(ctx)
	for {
		line.SetPrompt(t.prompt())
		text, err := line.Readline()
		switch {
		case errors.Is(err, readline.ErrInterrupt):
			fmt.Fprintln(a.out, paint.For(a.out).Dim("/quit or Ctrl-D leaves"))
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		line.SaveHistory(text)
		t.keep(text)
		if err := t.turn(ctx, text); errors.Is(err, errQuit) {
			return nil
		} else if err != nil {
			a.tell(err)
		}
	}
}

func (t *chat) prompt() string {
	name := t.bareName()
	if !t.o.base {
		name = t.custom.Name
	}
	if t.o.compare {
		name += " | " + base
	}
	return name + "> "
}

// bareName is what answers without a customisation.
func (t *chat) bareName() string {
	if name := t.c.Adapter(); name != "" {
		return name
	}
	return base
}

// turn does what one line says.
func (t *chat) turn(ctx context.Context, text string) error {
	if strings.HasPrefix(text, "/") {
		return t.command(text)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	q := t.o.question
	q.Text = text
	if t.o.compare {
		b, x, err := t.both(ctx, t.bare, t.own, q)
		if err != nil {
			return stopped(ctx, err)
		}
		t.last = &x
		t.columns(t.out, t.custom.Name, b, x)
		return nil
	}
	s := t.own
	if t.o.base {
		s = t.bare
	}
	x, err := s.Ask(ctx, q, &printer{w: t.out})
	fmt.Fprintln(t.out)
	if err != nil {
		return stopped(ctx, err)
	}
	t.last = &x
	t.told(x)
	return nil
}

func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("stopped")
	}
	return err
}

func (t *chat) command(text string) error {
	switch text {
	case "/quit", "/exit", "/q":
		return errQuit
	case "/help", "/?":
		fmt.Fprint(t.out, chatHelp)
	case "/clear":
		t.bare.Clear()
		if t.own != nil {
			t.own.Clear()
		}
		t.last = nil
	case "/why":
		if t.last == nil {
			return errors.New("nothing was answered yet")
		}
		fmt.Fprint(t.out, t.last.Decision.Explain())
	case "/base", "/compare":
		if t.own == nil {
			return fmt.Errorf("there is only %s here; crayon run NAME chats with a customisation", t.bareName())
		}
		if text == "/base" {
			t.o.base, t.o.compare = !t.o.base, false
		} else {
			t.o.base, t.o.compare = false, !t.o.compare
		}
	default:
		names := []string{"/help", "/base", "/compare", "/why", "/clear", "/quit"}
		return fmt.Errorf("there is no command %s; %s", text, nearest(text, names, "did you mean", "/help lists them"))
	}
	return nil
}

// The history: the last lines typed, for the user alone.
const (
	historyLines = 1000
	historyBytes = 1 << 20
)

func (t *chat) readHistory() []string {
	data, err := store.ReadFile(t.history, historyBytes)
	if err != nil {
		return nil // none yet, or not ours to read: chatting does without
	}
	var lines []string
	for s := bufio.NewScanner(strings.NewReader(string(data))); s.Scan(); {
		lines = append(lines, s.Text())
	}
	if len(lines) > historyLines {
		lines = lines[len(lines)-historyLines:]
		if err := store.WriteBytes(t.history, []byte(strings.Join(lines, "\n")+"\n")); err != nil {
			t.warn(err.Error())
		}
	}
	return lines
}

// keep adds a line to the history file.
func (t *chat) keep(line string) {
	if t.history == "" {
		return
	}
	err := store.MakeDir(filepath.Dir(t.history))
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(t.history, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			_, err = f.WriteString(line + "\n")
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		t.warn("the history is not kept: " + err.Error())
		t.history = "" // said once
	}
}
