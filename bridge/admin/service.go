package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"imctl/bridge/im"
	"imctl/bridge/natsauth"
	"imctl/bridge/subject"
	"imctl/bridge/webhook"
	"imctl/bridge/wire"
	"imctl/kv"
)

// Options configure a Service.
type Options struct {
	Prefix      string // first word of the subjects
	Accounts    AccountService
	Friends     FriendService
	Attachments AttachmentService
	Webhooks    *webhook.Webhooks
	Store       *kv.Store
	URL         string  // of the server, as clients reach it; "" if it is unknown
	Live        Live    // nil if no server runs; then only stored data is available
	Cluster     Cluster // nil if no server runs, or NATS has no user in its system account
	// Pass, if set, runs the work of a request or refuses it with an error.
	Pass  func(work func() error) error
	Audit Audit // nil: actions are not recorded
	// ReadDialogues lets administrators read conversations.
	ReadDialogues bool
	// Timeout limits the work of one request. The default is 30 seconds.
	Timeout time.Duration
	Log     *slog.Logger
}

// flushWait limits the wait until the NATS server has processed the unsubscribes of Stop.
const flushWait = 2 * time.Second

// Service answers administrators on one connection. The endpoints work concurrently. Each handles its requests one
// after the other, and the connection queues the rest.
type Service struct {
	o      Options
	nc     *nats.Conn
	micro  micro.Service
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards stopped and calls of work.Add
	stopped bool
	work    sync.WaitGroup
}

// endpoint is one subject of the service, with its description for $SRV.INFO.imctl.
type endpoint struct {
	noun, verb  string
	description string
	request     string
	response    string
	errors      string
	handle      func(ctx context.Context, request []byte) (any, error)
}

// Serve starts the service. It answers requests when Serve returns.
func Serve(nc *nats.Conn, o Options) (*Service, error) {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	s := &Service{o: o, nc: nc}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var err error
	s.micro, err = micro.AddService(nc, micro.Config{
		Name:        subject.Prefix(o.Prefix).ServiceName(),
		Version:     version,
		Description: "Administration of imctl",
		Metadata:    map[string]string{"prefix": o.Prefix},
		ErrorHandler: func(_ micro.Service, err *micro.NATSError) {
			o.Log.Warn("administration", "subject", err.Subject, "err", err.Description)
		},
	})
	if err != nil {
		s.cancel()
		return nil, fmt.Errorf("admin: start the service: %w", err)
	}
	for _, e := range s.endpoints() {
		if err := s.add(e); err != nil {
			return nil, errors.Join(fmt.Errorf("admin: start %s %s: %w", e.noun, e.verb, err), s.Stop(context.Background()))
		}
	}
	// The subscriptions must have reached the NATS server before the service is announced.
	if err := nc.Flush(); err != nil {
		return nil, errors.Join(fmt.Errorf("admin: start the service: %w", err), s.Stop(context.Background()))
	}
	return s, nil
}

func (s *Service) endpoints() []endpoint {
	return slices.Concat(s.userEndpoints(), s.exportEndpoints(), s.friendEndpoints(), s.sessionEndpoints(), s.tokenEndpoints(),
		s.attachEndpoints(), s.webhookEndpoints(), s.inviteEndpoints(), s.serverEndpoints(), s.reportEndpoints(), s.talkEndpoints(), s.clusterEndpoints())
}

// Stop accepts no more requests and waits for those in progress. It cancels those that are not done when ctx ends.
func (s *Service) Stop(ctx context.Context) error {
	err := s.micro.Stop()
	// The NATS server must have processed the unsubscribes, so that new requests go to other nodes or get no
	// responders.
	if flushed := s.nc.FlushTimeout(flushWait); flushed != nil && !errors.Is(flushed, nats.ErrConnectionClosed) {
		err = errors.Join(err, fmt.Errorf("admin: stop the service: %w", flushed))
	}
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.work.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		s.cancel()
		<-done
	}
	s.cancel()
	return err
}

func (s *Service) add(e endpoint) error {
	return s.micro.AddEndpoint(e.noun+"-"+e.verb, micro.HandlerFunc(func(r micro.Request) { s.answer(e, r) }),
		micro.WithEndpointSubject(subject.Prefix(s.o.Prefix).Admin(e.noun, e.verb)),
		micro.WithEndpointMetadata(map[string]string{
			"description": e.description,
			"request":     e.request,
			"response":    e.response,
			"errors":      e.errors,
		}))
}

// begin registers a request. It returns false if the service has been stopped.
func (s *Service) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.work.Add(1)
	return true
}

func (s *Service) answer(e endpoint, r micro.Request) {
	if !s.begin() {
		s.refuse(e, r, failure(Failed, "the server is shutting down"))
		return
	}
	defer s.work.Done()
	ctx, cancel := context.WithTimeout(s.ctx, s.o.Timeout)
	defer cancel()
	action := s.beginAction(ctx, e, r)
	answer, err := s.run(ctx, e, r.Data())
	var failed *Error
	if err != nil {
		failed = s.explain(e, err)
	}
	action.end(ctx, answer, failed)
	if failed == nil {
		data, err := encode(answer)
		if err == nil {
			err = r.Respond(data)
		}
		if err != nil {
			failed = s.explain(e, err)
		}
	}
	if failed != nil {
		s.refuse(e, r, failed)
	}
}

// run turns a panic into an error: it would end the process, as the handler runs on a goroutine of the connection.
func (s *Service) run(ctx context.Context, e endpoint, request []byte) (answer any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if s.o.Pass == nil {
		return e.handle(ctx, request)
	}
	err = s.o.Pass(func() (err error) {
		answer, err = e.handle(ctx, request)
		return err
	})
	return answer, err
}

func (s *Service) refuse(e endpoint, r micro.Request, failed *Error) {
	// A header cannot have line breaks.
	message := strings.Join(strings.Fields(failed.Message), " ")
	if err := r.Error(string(failed.Code), message, nil); err != nil {
		s.o.Log.Warn("administration: answer", "noun", e.noun, "verb", e.verb, "err", err)
	}
}

// explain converts an error to the answer for the client. It logs internal errors and hides their cause from the
// client.
func (s *Service) explain(e endpoint, err error) *Error {
	var known *Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, kv.ErrUserNotFound):
		return failure(NotFound, "the user does not exist")
	case errors.Is(err, kv.ErrAccountLooksAlike):
		return failure(AlreadyExists, "the account looks like an existing account")
	case errors.Is(err, kv.ErrAccountExists):
		return failure(AlreadyExists, "the account already exists")
	case errors.Is(err, kv.ErrAccountEmpty):
		return failure(Invalid, "account must not be empty")
	case errors.Is(err, kv.ErrPasswordTooLong):
		return failure(Invalid, "password is too long")
	case errors.Is(err, kv.ErrPasswordTooShort):
		_, why, _ := strings.Cut(err.Error(), kv.ErrPasswordTooShort.Error()+": it ")
		return failure(Invalid, "password %s", why)
	case errors.Is(err, wire.SignInElsewhere):
		return failure(Invalid, "the user signs in elsewhere: its password is not kept here")
	case errors.Is(err, kv.ErrSelf):
		return failure(Invalid, "a user cannot be its own friend")
	case errors.Is(err, kv.ErrNotFriends):
		return failure(NotFound, "the two users are not friends")
	case errors.Is(err, kv.ErrTooManyFriends):
		return failure(Failed, "one of the two users has reached limits.friends")
	case errors.Is(err, kv.ErrAttachmentNotFound):
		return failure(NotFound, "the attachment does not exist")
	case errors.Is(err, kv.ErrAttachmentExists):
		return failure(AlreadyExists, "an attachment with this name already exists")
	case errors.Is(err, kv.ErrAttachmentInvalid):
		_, why, _ := strings.Cut(err.Error(), kv.ErrAttachmentInvalid.Error()+": ")
		return failure(Invalid, "%s", why)
	case errors.Is(err, natsauth.ErrNoClients):
		return failure(Failed, "%s", err)
	case errors.Is(err, kv.ErrReadOnly):
		_, why, _ := strings.Cut(err.Error(), kv.ErrReadOnly.Error()+": ")
		return failure(Failed, "%s", why)
	case errors.Is(err, im.ErrRestoring):
		return failure(Restoring, "%s; if it was interrupted, complete it with imctl restore --complete", im.ErrRestoring.Error())
	case errors.Is(err, kv.ErrBusy), errors.Is(err, kv.ErrConflict):
		return failure(Failed, "the server is busy: try again")
	}
	s.o.Log.Error("administration", "noun", e.noun, "verb", e.verb, "err", err)
	if errors.Is(err, context.DeadlineExceeded) {
		return failure(Failed, "the request timed out: try again")
	}
	return failure(Failed, "the server failed: see its log")
}

// handler converts a function on messages to the handler of an endpoint.
func handler[Request, Answer any](do func(context.Context, Request) (Answer, error)) func(context.Context, []byte) (any, error) {
	return func(ctx context.Context, data []byte) (any, error) {
		var request Request
		if len(data) > 0 {
			if err := decode(data, &request); err != nil {
				return nil, err
			}
		}
		return do(ctx, request)
	}
}

// encode returns a message. It does not escape <, > and &: a dialogue of them would not fit into a message.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decode parses one JSON object. It refuses unknown keys: an unknown filter must not be ignored.
func decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) && wrongType.Field != "" {
			return failure(Invalid, "%s of the request must be of type %s", wrongType.Field, wrongType.Type)
		}
		// The other errors of the decoder quote keys and single characters, never values.
		return failure(Invalid, "invalid request: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return failure(Invalid, "invalid request: data after the JSON object")
	}
	return nil
}
