// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import "context"

// AcmeItem reads an account key, certificate or challenge; it is sealed.
func (q *Queries) AcmeItem(ctx context.Context, name string) (sealed []byte, err error) {
	err = q.row(ctx, `SELECT sealed FROM acme_items WHERE name = ?`, name).Scan(&sealed)
	return sealed, one("certificate item", name, err)
}

// PutAcmeItem writes one.
func (q *Queries) PutAcmeItem(ctx context.Context, name string, sealed []byte) error {
	_, err := q.exec(ctx, `INSERT INTO acme_items (name, sealed) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed`, name, sealed)
	return err
}

// DeleteAcmeItem removes one; one that is gone is no error.
func (q *Queries) DeleteAcmeItem(ctx context.Context, name string) error {
	_, err := q.exec(ctx, `DELETE FROM acme_items WHERE name = ?`, name)
	return err
}
