// Command query runs a query on a SQLite database, and prints the rows with tabs between the columns:
//
//	go run -C examples/sqlite ./query archive.db 'SELECT count(*) FROM entries'
package main

import (
	"database/sql"
	"fmt"
	"log"
	"os"
	"strings"

	_ "github.com/ncruces/go-sqlite3/driver"
	_ "github.com/ncruces/go-sqlite3/embed"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: query DATABASE QUERY")
	}
	db, err := sql.Open("sqlite3", "file:"+os.Args[1]+"?mode=ro")
	must(err)
	defer db.Close()
	rows, err := db.Query(os.Args[2])
	must(err)
	defer rows.Close()
	columns, err := rows.Columns()
	must(err)
	values, places := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range values {
		places[i] = &values[i]
	}
	for rows.Next() {
		must(rows.Scan(places...))
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = v.String
		}
		fmt.Println(strings.Join(texts, "\t"))
	}
	must(rows.Err())
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
