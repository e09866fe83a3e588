package admin

import (
	"context"
	"errors"
	"strconv"
	"time"

	"imctl/kv"
)

// ListReports requests a page of the reports. The zero value requests the first page.
type ListReports struct {
	After string `json:"after,omitempty"` // the Next of the previous page
	Limit int    `json:"limit,omitempty"` // 1 to MaxPage; 0 is MaxPage
}

// Report is what one user reported of another one. An account is "" while it is being deleted.
type Report struct {
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	By       string    `json:"by"`         // id of the user who reports
	ByName   string    `json:"by_account"` // its account
	User     string    `json:"user"`       // id of the reported user
	Account  string    `json:"account"`    // its account
	Text     string    `json:"text"`
	Dialogue string    `json:"dialogue"` // evidence, as the user who reports has it; "" for none
}

// Reports is a page of reports, oldest first.
type Reports struct {
	Reports []Report `json:"reports"`
	Next    string   `json:"next"` // cursor of the next page, "" on the last
}

// ReportRef names a report.
type ReportRef struct {
	ID string `json:"id"`
}

func (s *Service) reportEndpoints() []endpoint {
	const report = `{"id", "time", "by", "by_account", "user", "account", "text", "dialogue"}`
	return []endpoint{
		{"report", "list", "List a page of the reports of users about others, oldest first",
			`{"after": cursor, "limit": 1 to 500}; all are optional`, `{"reports": [` + report + `], "next": cursor, "" on the last page}`,
			"invalid, failed", handler(s.listReports)},
		{"report", "show", "Show a report", `{"id"}`, report, "not_found, invalid, failed", handler(s.showReport)},
		{"report", "remove", "Remove a report", `{"id"}`, report, "not_found, invalid, failed", handler(s.removeReport)},
	}
}

func (s *Service) listReports(ctx context.Context, r ListReports) (Reports, error) {
	after := uint64(0)
	if r.After != "" {
		var err error
		if after, err = strconv.ParseUint(r.After, 10, 64); err != nil {
			return Reports{}, failure(Invalid, "after is not a cursor")
		}
	}
	return fitPage(s, r.Limit, MaxPage, func(limit int) (Reports, error) {
		reports, next, err := s.o.Store.Reports.List(ctx, after, limit)
		if err != nil {
			return Reports{}, err
		}
		page := Reports{}
		if next != 0 {
			page.Next = strconv.FormatUint(next, 10)
		}
		page.Reports, err = s.reportsOf(ctx, reports...)
		return page, err
	})
}

// reportsOf returns reports with accounts.
func (s *Service) reportsOf(ctx context.Context, reports ...kv.Report) ([]Report, error) {
	ids := make([]string, 0, 2*len(reports))
	for _, r := range reports {
		ids = append(ids, r.By, r.User)
	}
	users, err := s.o.Store.Users.GetMany(ctx, ids)
	if err != nil {
		return nil, err
	}
	all := make([]Report, len(reports))
	for i, r := range reports {
		all[i] = Report{ID: r.ID, Time: r.Time, By: r.By, ByName: users[r.By].Account, User: r.User, Account: users[r.User].Account,
			Text: r.Text, Dialogue: r.Dialogue}
	}
	return all, nil
}

func (s *Service) showReport(ctx context.Context, r ReportRef) (Report, error) {
	report, err := s.o.Store.Reports.Get(ctx, r.ID)
	if errors.Is(err, kv.ErrReportNotFound) {
		err = failure(NotFound, "report %q does not exist", r.ID)
	}
	if err != nil {
		return Report{}, err
	}
	all, err := s.reportsOf(ctx, report)
	if err != nil {
		return Report{}, err
	}
	return all[0], nil
}

func (s *Service) removeReport(ctx context.Context, r ReportRef) (Report, error) {
	report, err := s.showReport(ctx, r)
	if err != nil {
		return Report{}, err
	}
	err = s.o.Store.Reports.Remove(ctx, r.ID)
	if errors.Is(err, kv.ErrReportNotFound) { // another administrator has removed it
		err = nil
	}
	return report, err
}
