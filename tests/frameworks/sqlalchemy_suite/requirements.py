"""What SQLite can, in the words of SQLAlchemy's suite; the same for both dialects."""

from sqlalchemy.testing import exclusions
from sqlalchemy.testing.requirements import SuiteRequirements

HAS = """
    autocommit check_constraint_reflection computed_columns computed_columns_reflect_persisted
    computed_columns_stored computed_columns_virtual ctes date_historic datetime_historic datetime_literals
    dbapi_lastrowid expression_server_defaults fk_constraint_option_reflection_ondelete_noaction
    fk_constraint_option_reflection_ondelete_restrict fk_constraint_option_reflection_onupdate_restrict
    float_or_double_precision_behaves_generically foreign_key_constraint_name_reflection
    foreign_key_constraint_option_reflection_ondelete foreign_key_constraint_option_reflection_onupdate
    index_ddl_if_exists indexes_check_column_order indexes_with_expressions infinity_floats
    inline_check_constraint_reflection isolation_level json_array_indexes json_type
    legacy_unconditional_json_extract nvarchar_types order_by_collation percent_schema_names
    precision_numerics_retains_significant_digits reflect_table_options reflects_pk_names
    repeated_column_foreign_keys repeated_remote_col_foreign_keys schemas server_defaults
    skip_autocommit_rollback table_ddl_if_exists unicode_ddl view_column_reflection view_reflection views
    window_functions
    boolean_col_expressions create_table_as create_temp_table_as ctes_with_values emulated_lastrowid except_
    fetch_expression intersect mod_operator_as_percent_sign nullsordering order_by_label_with_expression
    precision_numerics_enotation_small regexp_match supports_bitwise_and supports_bitwise_not
    supports_bitwise_or supports_bitwise_shift supports_bitwise_xor tuple_in tuple_in_w_empty update_from
    window_range window_range_numeric
"""

LACKS = {
    "nested_aggregates": "no aggregate of an aggregate",
    "numeric_received_as_decimal_untyped": "there is no decimal type",
    "temporary_tables": "a temporary table is its connection's",
    "parens_in_union_contained_select_w_limit_offset": "no parentheses in a compound SELECT",
    "parens_in_union_contained_select_wo_limit_offset": "no parentheses in a compound SELECT",
    "independent_connections": "an attached schema is its connection's",
    "implicitly_named_constraints": "a constraint without a name has none",
    "json_index_supplementary_unicode_element": "depends on SQLite's version",
    "temp_table_reflect_indexes": "a temporary table is its connection's",
    "temp_table_reflection": "a temporary table is its connection's",
    "cast_precision_numerics_many_significant_digits": "there is no decimal type",
    "precision_numerics_many_significant_digits": "there is no decimal type",
}


class Requirements(SuiteRequirements):
    def get_order_by_collation(self, config):  # noqa: ARG002
        return "nocase"

    def get_isolation_levels(self, config):  # noqa: ARG002
        levels = ["READ UNCOMMITTED", "SERIALIZABLE", "AUTOCOMMIT"]
        return {"default": "SERIALIZABLE", "supported": levels}


for _name in HAS.split():
    setattr(Requirements, _name, property(lambda self: exclusions.open()))  # noqa: ARG005
for _name, _why in LACKS.items():
    setattr(Requirements, _name, property(lambda self, why=_why: exclusions.skip_if(lambda: True, why)))  # noqa: ARG005
