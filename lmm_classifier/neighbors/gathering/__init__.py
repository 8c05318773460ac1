"""Comparison with the rows that compete for a query, gathered from a store or from a shortlist.

Start with `store_similarities`. `left_out_shortlist` leaves examples out through the same comparison.
"""
