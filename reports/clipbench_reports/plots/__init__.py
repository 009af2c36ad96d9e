"""Figures for papers, drawn from run folders."""
